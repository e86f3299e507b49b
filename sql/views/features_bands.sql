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
