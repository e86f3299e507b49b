-- features_range: how far one coin's price moves within a minute.
--
-- grain     one row per (product, minute)
-- carries   features_oscillator
-- reads     features_oscillator
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   14 minutes: 14 true ranges need 15 closes; null before
--
-- spread             high - low of the candle, quote currency; not a bid-ask spread
-- spread_pct         100 * (high - low) / close
-- atr                simple mean of the last 14 true ranges, quote currency; an exact decimal sum
-- spread_atr_ratio   spread / (atr + 1e-8)
create or replace view features_range as
with ticked as (
    select
        *,
        round(cast(high as double) * 1e8) as high_ticks,
        round(cast(low as double) * 1e8) as low_ticks,
        round(cast(close as double) * 1e8) as close_ticks
    from features_oscillator
),

ranged as (
    select
        * exclude (high_ticks, low_ticks),
        (high_ticks - low_ticks) / 1e8 as spread,
        -- null in a segment's first row, which has no close before it, and so in every sum that would reach across;
        -- the larger and the smaller by hand: greatest() and least() take four times as long
        case
            when minute_of_segment > 0
                then
                    case when high_ticks > lag(close_ticks) over () then high_ticks else lag(close_ticks) over () end
                    - case when low_ticks < lag(close_ticks) over () then low_ticks else lag(close_ticks) over () end
        end as true_range
    from ticked
),

summed_7 as (
    select
        * replace (
            true_range
            + lag(true_range, 1) over () + lag(true_range, 2) over () + lag(true_range, 3) over ()
            + lag(true_range, 4) over () + lag(true_range, 5) over () + lag(true_range, 6) over () as true_range
        )
    from ranged
),

summed_14 as (
    select
        * exclude (true_range),
        (true_range + lag(true_range, 7) over ()) / 1.4e9 as atr
    from summed_7
)

select
    * exclude (close_ticks, spread, atr),
    spread,
    1e10 * spread / close_ticks as spread_pct,
    atr,
    spread / (atr + 1e-8) as spread_atr_ratio
from summed_14;

-- features_volume: how much is traded, against the last twenty minutes.
--
-- grain     one row per (product, minute)
-- carries   features_range
-- reads     features_range
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   19 minutes: 20 candles; null before
--
-- volume_ma      mean volume of the last 20 minutes, base currency; an exact decimal sum
-- volume_ratio   volume / (volume_ma + 1e-8)
-- volume_trend   least-squares slope of the last 20 volumes on 0 .. 19, base currency per minute; from exact decimal sums
create or replace view features_volume as
with ticked as (
    select
        *,
        round(cast(volume as double) * 1e8) as volume_ticks
    from features_range
),

-- five volumes, and how much of it lies how many minutes back
summed_5 as (
    select
        *,
        volume_ticks + lag(volume_ticks, 1) over () + lag(volume_ticks, 2) over ()
        + lag(volume_ticks, 3) over () + lag(volume_ticks, 4) over () as sum_5,
        lag(volume_ticks, 1) over () + 2 * lag(volume_ticks, 2) over ()
        + 3 * lag(volume_ticks, 3) over () + 4 * lag(volume_ticks, 4) over () as moment_5
    from ticked
),

summed_20 as (
    select
        * exclude (sum_5, moment_5),
        case
            when minute_of_segment >= 19
                then sum_5 + lag(sum_5, 5) over () + lag(sum_5, 10) over () + lag(sum_5, 15) over ()
        end as sum_20,
        moment_5 + lag(moment_5, 5) over () + lag(moment_5, 10) over () + lag(moment_5, 15) over ()
        + 5 * lag(sum_5, 5) over () + 10 * lag(sum_5, 10) over () + 15 * lag(sum_5, 15) over () as moment_20
    from summed_5
)

-- with x = 19 - minutes back: slope = sum((x - 9.5) * v) / 665; both doubled to stay in whole numbers
select
    * exclude (volume_ticks, sum_20, moment_20),
    sum_20 / 2e9 as volume_ma,
    volume_ticks / 1e8 / (sum_20 / 2e9 + 1e-8) as volume_ratio,
    (19 * sum_20 - 2 * moment_20) / 1.33e11 as volume_trend
from summed_20;

-- features_trend: mean closes over four windows, and where the close lies against them.
--
-- grain     one row per (product, minute)
-- carries   features_volume
-- reads     features_volume
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   49 minutes: 50 closes; the shorter means are there after 6, 13 and 20; null before
--
-- sma_7                mean close of the last 7 minutes, quote currency; an exact decimal sum
-- price_sma_7_ratio    close / (sma_7 + 1e-8)
-- sma_14               mean close of the last 14 minutes, quote currency
-- price_sma_14_ratio   close / (sma_14 + 1e-8)
-- sma_21               mean close of the last 21 minutes, quote currency
-- price_sma_21_ratio   close / (sma_21 + 1e-8)
-- sma_50               mean close of the last 50 minutes, quote currency
-- price_sma_50_ratio   close / (sma_50 + 1e-8)
create or replace view features_trend as
with ticked as (
    select
        *,
        round(cast(close as double) * 1e8) as close_ticks
    from features_volume
),

summed_7 as (
    select
        *,
        close_ticks
        + lag(close_ticks, 1) over () + lag(close_ticks, 2) over () + lag(close_ticks, 3) over ()
        + lag(close_ticks, 4) over () + lag(close_ticks, 5) over () + lag(close_ticks, 6) over () as sum_7
    from ticked
),

summed_21 as (
    select
        *,
        sum_7 + lag(sum_7, 7) over () as sum_14,
        sum_7 + lag(sum_7, 7) over () + lag(sum_7, 14) over () as sum_21
    from summed_7
),

averaged as (
    select
        * exclude (close_ticks, sum_7, sum_14, sum_21),
        close_ticks / 1e8 as price,
        case when minute_of_segment >= 6 then sum_7 / 7e8 end as mean_7,
        case when minute_of_segment >= 13 then sum_14 / 1.4e9 end as mean_14,
        case when minute_of_segment >= 20 then sum_21 / 2.1e9 end as mean_21,
        case
            when minute_of_segment >= 49
                then
                    (sum_21 + lag(sum_21, 21) over () + lag(sum_7, 42) over () + lag(close_ticks, 49) over ())
                    / 5e9
        end as mean_50
    from summed_21
)

select
    * exclude (price, mean_7, mean_14, mean_21, mean_50),
    mean_7 as sma_7,
    price / (mean_7 + 1e-8) as price_sma_7_ratio,
    mean_14 as sma_14,
    price / (mean_14 + 1e-8) as price_sma_14_ratio,
    mean_21 as sma_21,
    price / (mean_21 + 1e-8) as price_sma_21_ratio,
    mean_50 as sma_50,
    price / (mean_50 + 1e-8) as price_sma_50_ratio
from averaged;

-- features_bands: Bollinger bands, the mean of twenty closes plus and minus two population standard deviations.
--
-- grain     one row per (product, minute)
-- carries   features_trend
-- reads     features_trend
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   19 minutes: 20 closes; null before
--
-- bb_high       upper band, quote currency
-- bb_low        lower band, quote currency
-- bb_width      (bb_high - bb_low) / close
-- bb_position   (close - bb_low) / (bb_high - bb_low); 0.5 where the bands have no width
create or replace view features_bands as
with ticked as (
    select
        *,
        round(cast(close as double) * 1e8) as close_ticks
    from features_trend
),

-- Twenty closes as four groups of five. Each sums distances from a close inside the window, so a flat market gives exactly 0 and
-- the difference of squares below loses no more than two digits, whatever the price.
apart as (
    select
        *,
        lag(close_ticks, 1) over () - close_ticks as apart_1,
        lag(close_ticks, 2) over () - close_ticks as apart_2,
        lag(close_ticks, 3) over () - close_ticks as apart_3,
        lag(close_ticks, 4) over () - close_ticks as apart_4,
        lag(close_ticks, 5) over () - close_ticks as apart_5,
        lag(close_ticks, 10) over () - close_ticks as apart_10,
        lag(close_ticks, 15) over () - close_ticks as apart_15
    from ticked
),

summed_5 as (
    select
        * exclude (apart_1, apart_2, apart_3, apart_4),
        apart_1 + apart_2 + apart_3 + apart_4 as sum_5,
        apart_1 * apart_1 + apart_2 * apart_2 + apart_3 * apart_3 + apart_4 * apart_4 as squares_5
    from apart
),

-- a group's distances from its own close, moved to distances from the current one
summed_20 as (
    select
        * exclude (apart_5, apart_10, apart_15, sum_5, squares_5),
        case
            when minute_of_segment >= 19
                then
                    sum_5 + lag(sum_5, 5) over () + lag(sum_5, 10) over () + lag(sum_5, 15) over ()
                    + 5 * (apart_5 + apart_10 + apart_15)
        end as sum_20,
        squares_5 + lag(squares_5, 5) over () + lag(squares_5, 10) over () + lag(squares_5, 15) over ()
        + apart_5 * (2 * lag(sum_5, 5) over () + 5 * apart_5)
        + apart_10 * (2 * lag(sum_5, 10) over () + 5 * apart_10)
        + apart_15 * (2 * lag(sum_5, 15) over () + 5 * apart_15) as squares_20
    from summed_5
),

banded as (
    select
        * exclude (sum_20, squares_20),
        sum_20 / 20 as mean_apart,
        -- two deviations; the variance is (n * sum(x^2) - sum(x)^2) / n^2, and abs() is for what rounding leaves of a 0
        case when minute_of_segment >= 19 then sqrt(abs(20 * squares_20 - sum_20 * sum_20)) / 10 end as half
    from summed_20
)

select
    * exclude (close_ticks, mean_apart, half),
    (close_ticks + mean_apart + half) / 1e8 as bb_high,
    (close_ticks + mean_apart - half) / 1e8 as bb_low,
    2 * half / close_ticks as bb_width,
    case when half = 0 then 5e-1 else (half - mean_apart) / (2 * half) end as bb_position
from banded;

-- features_regime: whether one coin is calm or wild against its own last twenty minutes.
--
-- grain     one row per (product, minute)
-- carries   features_bands
-- reads     features_bands
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   33 minutes: 20 values of atr; null before
--
-- volatility_regime   low, medium or high: atr below, between or above the 33rd and 67th percentile of its last 20 values; medium when flat
-- volatility_low      1 when low, else 0
-- volatility_medium   1 when medium, else 0
-- volatility_high     1 when high, else 0
--
-- The percentiles lie between the 7th and 8th and the 13th and 14th of the 20 sorted values, so the newest is below the first just
-- when 13 or more are above it, and above the second just when 13 or more are below it: counting says the same as interpolating.
-- Counted in doubles: DuckDB adds those four times faster than small integers, whose overflow it checks.
create or replace view features_regime as
with counted as (
    select
        *,
        cast(atr < lag(atr, 1) over () as double) + cast(atr < lag(atr, 2) over () as double)
        + cast(atr < lag(atr, 3) over () as double) + cast(atr < lag(atr, 4) over () as double)
        + cast(atr < lag(atr, 5) over () as double) + cast(atr < lag(atr, 6) over () as double)
        + cast(atr < lag(atr, 7) over () as double) + cast(atr < lag(atr, 8) over () as double)
        + cast(atr < lag(atr, 9) over () as double) + cast(atr < lag(atr, 10) over () as double)
        + cast(atr < lag(atr, 11) over () as double) + cast(atr < lag(atr, 12) over () as double)
        + cast(atr < lag(atr, 13) over () as double) + cast(atr < lag(atr, 14) over () as double)
        + cast(atr < lag(atr, 15) over () as double) + cast(atr < lag(atr, 16) over () as double)
        + cast(atr < lag(atr, 17) over () as double) + cast(atr < lag(atr, 18) over () as double)
        + cast(atr < lag(atr, 19) over () as double) as values_above,
        cast(atr > lag(atr, 1) over () as double) + cast(atr > lag(atr, 2) over () as double)
        + cast(atr > lag(atr, 3) over () as double) + cast(atr > lag(atr, 4) over () as double)
        + cast(atr > lag(atr, 5) over () as double) + cast(atr > lag(atr, 6) over () as double)
        + cast(atr > lag(atr, 7) over () as double) + cast(atr > lag(atr, 8) over () as double)
        + cast(atr > lag(atr, 9) over () as double) + cast(atr > lag(atr, 10) over () as double)
        + cast(atr > lag(atr, 11) over () as double) + cast(atr > lag(atr, 12) over () as double)
        + cast(atr > lag(atr, 13) over () as double) + cast(atr > lag(atr, 14) over () as double)
        + cast(atr > lag(atr, 15) over () as double) + cast(atr > lag(atr, 16) over () as double)
        + cast(atr > lag(atr, 17) over () as double) + cast(atr > lag(atr, 18) over () as double)
        + cast(atr > lag(atr, 19) over () as double) as values_below
    from features_bands
)

select
    * exclude (values_above, values_below),
    case
        when values_above >= 13 then 'low'
        when values_below >= 13 then 'high'
        when values_above is not null then 'medium'
    end as volatility_regime,
    cast(values_above >= 13 as integer) as volatility_low,
    cast(values_above < 13 and values_below < 13 as integer) as volatility_medium,
    cast(values_below >= 13 as integer) as volatility_high
from counted;

-- features_session: where in the trading day and week a minute lies, by UTC hour.
--
-- grain     one row per (product, minute)
-- carries   features_regime
-- reads     features_regime
-- known     at open_time
-- causal    depends on the clock alone
-- warm-up   0 minutes
--
-- session            tokyo, london or new_york: UTC hour 0-7, 8-15, 16-23
-- session_tokyo      1 in UTC hours 0-7, else 0
-- session_london     1 in UTC hours 8-15, else 0
-- session_new_york   1 in UTC hours 16-23, else 0
-- day_of_week        0 on Monday .. 6 on Sunday, UTC
-- is_weekend         1 on Saturday and Sunday, else 0
create or replace view features_session as
with days as (
    select
        *,
        -- in doubles, where floor(x / n) is exact for these and takes a fifth of the time of whole numbers' // and %
        cast(minute as double) as minute_number,
        floor(cast(minute as double) / 1440) as day_number
    from features_regime
),

clocked as (
    select
        * exclude (minute_number, day_number),
        floor((minute_number - 1440 * day_number) / 480) as third_of_day,
        day_number + 3 - 7 * floor((day_number + 3) / 7) as weekday
    from days
)

select
    * exclude (third_of_day, weekday),
    case third_of_day when 0 then 'tokyo' when 1 then 'london' else 'new_york' end as session,
    cast(third_of_day = 0 as integer) as session_tokyo,
    cast(third_of_day = 1 as integer) as session_london,
    cast(third_of_day = 2 as integer) as session_new_york,
    cast(weekday as integer) as day_of_week,
    cast(weekday >= 5 as integer) as is_weekend
from clocked;

-- seed39_rows: feature set seed39, version 1, with the bookkeeping columns that data sets and the runtime need.
--
-- grain     one row per (product, minute) whose windows are all full
-- reads     features_session
-- known     at open_time + 1 minute
-- causal    nothing here looks forward; the labels are in labels_15m
-- warm-up   288 minutes of a segment, those of rsi and macd; no row before, nothing is back-filled
--
-- product              exchange product id
-- minute               the same as whole minutes since 1970
-- is_filled            whether nobody traded in this minute
-- segment_start        open_time of the segment's first candle
-- minute_of_segment    minutes since segment_start, 0 for its first row
-- open_time            UTC start of the minute
-- open                 first trade price, quote currency
-- high                 highest trade price, quote currency
-- low                  lowest trade price, quote currency
-- close                last trade price, quote currency
-- volume               traded amount, base currency
-- session              tokyo, london or new_york: UTC hour 0-7, 8-15, 16-23
-- session_tokyo        1 in UTC hours 0-7, else 0
-- session_london       1 in UTC hours 8-15, else 0
-- session_new_york     1 in UTC hours 16-23, else 0
-- day_of_week          0 on Monday .. 6 on Sunday, UTC
-- is_weekend           1 on Saturday and Sunday, else 0
-- spread               high - low of the candle, quote currency; not a bid-ask spread
-- spread_pct           100 * (high - low) / close
-- atr                  simple mean of the last 14 true ranges, quote currency; an exact decimal sum
-- spread_atr_ratio     spread / (atr + 1e-8)
-- volume_ma            mean volume of the last 20 minutes, base currency; an exact decimal sum
-- volume_ratio         volume / (volume_ma + 1e-8)
-- volume_trend         least-squares slope of the last 20 volumes on 0 .. 19, base currency per minute; from exact decimal sums
-- sma_7                mean close of the last 7 minutes, quote currency; an exact decimal sum
-- price_sma_7_ratio    close / (sma_7 + 1e-8)
-- sma_14               mean close of the last 14 minutes, quote currency
-- price_sma_14_ratio   close / (sma_14 + 1e-8)
-- sma_21               mean close of the last 21 minutes, quote currency
-- price_sma_21_ratio   close / (sma_21 + 1e-8)
-- sma_50               mean close of the last 50 minutes, quote currency
-- price_sma_50_ratio   close / (sma_50 + 1e-8)
-- rsi                  14 minutes, Wilder smoothing (alpha 1/14): 100 * gain / (gain + loss); 50 when nothing moved
-- macd                 EMA12 - EMA26 of close (span form, no bias adjustment), quote currency
-- macd_signal          EMA9 of macd, quote currency
-- macd_diff            macd - macd_signal, quote currency
-- bb_high              upper band, quote currency
-- bb_low               lower band, quote currency
-- bb_width             (bb_high - bb_low) / close
-- bb_position          (close - bb_low) / (bb_high - bb_low); 0.5 where the bands have no width
-- volatility_regime    low, medium or high: atr against the 33rd and 67th percentile of its last 20 values
-- volatility_low       1 when low, else 0
-- volatility_medium    1 when medium, else 0
-- volatility_high      1 when high, else 0
create or replace view seed39_rows as
select
    product,
    minute,
    is_filled,
    segment_start,
    minute_of_segment,
    open_time,
    open,
    high,
    low,
    close,
    volume,
    session,
    session_tokyo,
    session_london,
    session_new_york,
    day_of_week,
    is_weekend,
    spread,
    spread_pct,
    atr,
    spread_atr_ratio,
    volume_ma,
    volume_ratio,
    volume_trend,
    sma_7,
    price_sma_7_ratio,
    sma_14,
    price_sma_14_ratio,
    sma_21,
    price_sma_21_ratio,
    sma_50,
    price_sma_50_ratio,
    rsi,
    macd,
    macd_signal,
    macd_diff,
    bb_high,
    bb_low,
    bb_width,
    bb_position,
    volatility_regime,
    volatility_low,
    volatility_medium,
    volatility_high
from features_session
where minute_of_segment >= 288;

-- seed39: feature set seed39, version 1: the product, then its 39 columns in their order.
--
-- grain     one row per (product, minute) whose windows are all full
-- carries   seed39_rows
-- without   minute, is_filled, segment_start, minute_of_segment
-- reads     seed39_rows
-- known     at open_time + 1 minute
-- causal    nothing here looks forward; the labels are in labels_15m
-- warm-up   288 minutes of a segment, those of rsi and macd; no row before, nothing is back-filled
create or replace view seed39 as
select * exclude (minute, is_filled, segment_start, minute_of_segment)
from seed39_rows;
