-- flow_coin: what one coin does, free of its scale: returns, volatility and volume against their own hour and day.
--
-- grain     one row per (product, minute) from minute 60 of a segment on
-- reads     candles_dense
-- known     at open_time + 1 minute
-- causal    lags and running sums that end at the current row; a window stays in its segment
-- warm-up   60 minutes of a segment; windows of 120, 240 and 1440 minutes begin with the segment until they are full
-- history   1440 minutes before a row decide it
--
-- product               exchange product id
-- open_time             UTC start of the minute
-- minute                the same as whole minutes since 1970
-- segment_start         open_time of the segment's first candle
-- minute_of_segment     minutes since segment_start
-- close                 last trade price, quote currency; carried forward in a filled minute
-- is_filled             whether nobody traded in this minute
-- turnover_usd          volume of the day times the close, quote currency: how much a coin counts in the market
-- return_1              log return over 1 minute, in units of the last hour's volatility: divided by it and by the root of the minutes
-- return_2              the same over 2 minutes
-- return_5              the same over 5 minutes
-- return_15             the same over 15 minutes
-- return_30             the same over 30 minutes
-- return_60             the same over 60 minutes
-- return_120            the same over 120 minutes, or since the segment began
-- return_240            the same over 240 minutes, or since the segment began
-- return_1440           the same over 1440 minutes, or since the segment began
-- volatility_5_60       log of the root mean square of the last 5 one-minute log returns over that of the last 60
-- volatility_15_60      the same, 15 minutes over 60
-- volatility_60_240     the same, 60 minutes over 240 (or since the segment began)
-- volatility_60_1440    the same, 60 minutes over 1440 (or since the segment began)
-- volatility_240_1440   the same, 240 minutes over 1440 (or since the segment began)
-- volume_1_60           log of the minute's volume over the mean of the last 60, both raised by a thousandth of the day's mean; 0 in a day without trade
-- volume_5_60           the same, mean of 5 minutes over 60
-- volume_15_60          the same, 15 minutes over 60
-- volume_60_1440        the same, 60 minutes over 1440 (or since the segment began)
-- signed_5              volume of the last 5 minutes, each with the sign of its minute's move, over their volume: -1 to 1, 0 without trade
-- signed_15             the same over 15 minutes
-- signed_60             the same over 60 minutes
--
-- Every sum over a window is the difference of two running sums of whole numbers, so a value has the same bits wherever history
-- starts. Log prices are whole numbers of 1e-8, a move counts as at most 1 (a price 2.7 times higher), and 1e-5 is added to every
-- volatility, so a flat market gives 0. Rows come sorted from candles_dense, see there; an hour of outage silences a coin for one
-- hour here, because the long windows may begin with the segment.
create or replace view flow_coin as
with ticked as (
    select
        product,
        open_time,
        minute,
        segment_start,
        minute_of_segment,
        close,
        is_filled,
        volume,
        cast(round(ln(cast(close as double)) * 1e8) as bigint) as log_close
    from candles_dense
),

moved as (
    select
        *,
        case
            when minute_of_segment = 0 then 0
            else greatest(least(log_close - lag(log_close) over (), 100000000), -100000000)
        end as move
    from ticked
),

running as (
    select
        * exclude (move),
        sum(move * move) over (rows unbounded preceding) as energy, -- noqa: PRS
        sum(volume) over (rows unbounded preceding) as traded, -- noqa: PRS
        sum(sign(move) * volume) over (rows unbounded preceding) as pushed -- noqa: PRS
    from moved
),

marked as (
    select
        *,
        case when minute_of_segment = 0 then log_close end as opening_log,
        case when minute_of_segment = 0 then energy end as opening_energy,
        case when minute_of_segment = 0 then traded end as opening_traded
    from running
),

-- what they were when the segment began: where a long window starts until it is full
begun as (
    select
        *,
        last_value(opening_log ignore nulls) over (rows unbounded preceding) as first_log, -- noqa: PRS
        last_value(opening_energy ignore nulls) over (rows unbounded preceding) as first_energy, -- noqa: PRS
        last_value(opening_traded ignore nulls) over (rows unbounded preceding) as first_traded, -- noqa: PRS
        cast(least(minute_of_segment, 120) as double) as minutes_120,
        cast(least(minute_of_segment, 240) as double) as minutes_240,
        cast(least(minute_of_segment, 1440) as double) as minutes_1440
    from marked
),

windowed as (
    select
        product,
        open_time,
        minute,
        segment_start,
        minute_of_segment,
        close,
        is_filled,
        minutes_120,
        minutes_240,
        minutes_1440,
        cast(log_close - lag(log_close, 1) over () as double) as move_1,
        cast(log_close - lag(log_close, 2) over () as double) as move_2,
        cast(log_close - lag(log_close, 5) over () as double) as move_5,
        cast(log_close - lag(log_close, 15) over () as double) as move_15,
        cast(log_close - lag(log_close, 30) over () as double) as move_30,
        cast(log_close - lag(log_close, 60) over () as double) as move_60,
        cast(
            log_close - case when minute_of_segment < 120 then first_log else lag(log_close, 120) over () end as double
        ) as move_120,
        cast(
            log_close - case when minute_of_segment < 240 then first_log else lag(log_close, 240) over () end as double
        ) as move_240,
        cast(
            log_close - case when minute_of_segment < 1440 then first_log else lag(log_close, 1440) over () end
            as double
        ) as move_1440,
        sqrt(cast(energy - lag(energy, 5) over () as double) / 5) + 1000 as sd_5,
        sqrt(cast(energy - lag(energy, 15) over () as double) / 15) + 1000 as sd_15,
        sqrt(cast(energy - lag(energy, 60) over () as double) / 60) + 1000 as sd_60,
        sqrt(
            cast(
                energy - case when minute_of_segment < 240 then first_energy else lag(energy, 240) over () end
                as double
            )
            / minutes_240
        )
        + 1000 as sd_240,
        sqrt(
            cast(
                energy - case when minute_of_segment < 1440 then first_energy else lag(energy, 1440) over () end
                as double
            )
            / minutes_1440
        )
        + 1000 as sd_1440,
        cast(volume as double) as volume_1,
        cast(traded - lag(traded, 5) over () as double) as volume_5,
        cast(traded - lag(traded, 15) over () as double) as volume_15,
        cast(traded - lag(traded, 60) over () as double) as volume_60,
        cast(
            traded - case when minute_of_segment < 1440 then first_traded else lag(traded, 1440) over () end as double
        ) as volume_1440,
        cast(pushed - lag(pushed, 5) over () as double) as pushed_5,
        cast(pushed - lag(pushed, 15) over () as double) as pushed_15,
        cast(pushed - lag(pushed, 60) over () as double) as pushed_60
    from begun
),

-- a thousandth of the day's mean keeps the logarithm finite in minutes without trade
raised as (
    select
        *,
        volume_1 + volume_1440 / minutes_1440 / 1e3 as raised_1,
        volume_5 / 5 + volume_1440 / minutes_1440 / 1e3 as raised_5,
        volume_15 / 15 + volume_1440 / minutes_1440 / 1e3 as raised_15,
        volume_60 / 60 + volume_1440 / minutes_1440 / 1e3 as raised_60,
        1.001e0 * volume_1440 / minutes_1440 as raised_1440
    from windowed
    where minute_of_segment >= 60
)

select
    product,
    open_time,
    minute,
    segment_start,
    minute_of_segment,
    close,
    is_filled,
    volume_1440 * cast(close as double) as turnover_usd,
    move_1 / sd_60 as return_1,
    move_2 / (sd_60 * sqrt(2)) as return_2,
    move_5 / (sd_60 * sqrt(5)) as return_5,
    move_15 / (sd_60 * sqrt(15)) as return_15,
    move_30 / (sd_60 * sqrt(30)) as return_30,
    move_60 / (sd_60 * sqrt(60)) as return_60,
    move_120 / (sd_60 * sqrt(minutes_120)) as return_120,
    move_240 / (sd_60 * sqrt(minutes_240)) as return_240,
    move_1440 / (sd_60 * sqrt(minutes_1440)) as return_1440,
    ln(sd_5 / sd_60) as volatility_5_60,
    ln(sd_15 / sd_60) as volatility_15_60,
    ln(sd_60 / sd_240) as volatility_60_240,
    ln(sd_60 / sd_1440) as volatility_60_1440,
    ln(sd_240 / sd_1440) as volatility_240_1440,
    case when volume_1440 = 0 then 0 else ln(raised_1 / raised_60) end as volume_1_60,
    case when volume_1440 = 0 then 0 else ln(raised_5 / raised_60) end as volume_5_60,
    case when volume_1440 = 0 then 0 else ln(raised_15 / raised_60) end as volume_15_60,
    case when volume_1440 = 0 then 0 else ln(raised_60 / raised_1440) end as volume_60_1440,
    case when volume_5 = 0 then 0 else pushed_5 / volume_5 end as signed_5,
    case when volume_15 = 0 then 0 else pushed_15 / volume_15 end as signed_15,
    case when volume_60 = 0 then 0 else pushed_60 / volume_60 end as signed_60
from raised;

-- flow: feature set flow, version 1: scale-free inputs of one coin, the same of the other coins, and the clock.
--
-- grain     one row per (product, minute) from minute 60 of a segment on
-- reads     flow_coin
-- known     at open_time + 1 minute
-- causal    nothing here looks forward; other coins count with candles up to the same minute
-- warm-up   60 minutes of a segment
-- history   1445 minutes before a row decide it: a day, and five minutes for which another coin's last trade counts
-- coins     every coin of the store: market_* read those with a trade in the last five minutes, weighted by a day's turnover
--
-- product               exchange product id
-- open_time             UTC start of the minute
-- minute                the same as whole minutes since 1970
-- segment_start         open_time of the segment's first candle
-- minute_of_segment     minutes since segment_start
-- close                 last trade price, quote currency; carried forward in a filled minute
-- is_filled             whether nobody traded in this minute
-- return_1              log return over 1 minute, in units of the last hour's volatility: divided by it and by the root of the minutes
-- return_2              the same over 2 minutes
-- return_5              the same over 5 minutes
-- return_15             the same over 15 minutes
-- return_30             the same over 30 minutes
-- return_60             the same over 60 minutes
-- return_120            the same over 120 minutes, or since the segment began
-- return_240            the same over 240 minutes, or since the segment began
-- return_1440           the same over 1440 minutes, or since the segment began
-- volatility_5_60       log of the root mean square of the last 5 one-minute log returns over that of the last 60
-- volatility_15_60      the same, 15 minutes over 60
-- volatility_60_240     the same, 60 minutes over 240 (or since the segment began)
-- volatility_60_1440    the same, 60 minutes over 1440 (or since the segment began)
-- volatility_240_1440   the same, 240 minutes over 1440 (or since the segment began)
-- volume_1_60           log of the minute's volume over the mean of the last 60, both raised by a thousandth of the day's mean; 0 in a day without trade
-- volume_5_60           the same, mean of 5 minutes over 60
-- volume_15_60          the same, 15 minutes over 60
-- volume_60_1440        the same, 60 minutes over 1440 (or since the segment began)
-- signed_5              volume of the last 5 minutes, each with the sign of its minute's move, over their volume: -1 to 1, 0 without trade
-- signed_15             the same over 15 minutes
-- signed_60             the same over 60 minutes
-- has_market            1 if at least one other coin traded in the last five minutes, else 0 and every market_* is 0
-- market_return_1       mean of the other coins' return_1, weighted by a day's turnover
-- market_return_5       the same of return_5
-- market_return_15      the same of return_15
-- market_return_60      the same of return_60
-- market_volume_1_60    the same of volume_1_60
-- market_volume_5_60    the same of volume_5_60
-- market_volume_15_60   the same of volume_15_60
-- market_signed_5       the same of signed_5
-- market_signed_15      the same of signed_15
-- market_signed_60      the same of signed_60
-- day_sin               sine of the time of day, UTC
-- day_cos               its cosine
-- half_day_sin          sine of the time of half a day
-- half_day_cos          its cosine
-- hour_sin              sine of the minute of the hour
-- hour_cos              its cosine
-- half_hour_sin         sine of the minute of half an hour
-- half_hour_cos         its cosine
-- week_sin              sine of the time of the week, from Monday, UTC
-- week_cos              its cosine
--
-- A coin is no part of its own market, and of the others it sees the last minute each traded in, for five minutes: a filled minute is
-- known to be one only when the next candle comes, so at the newest minute it would be missing where history has it. Weighted inputs
-- are whole millionths, so a sum over coins has the same bits in any order. A coin alone in its store has no market: has_market and
-- market_* are 0 in training as when served.
create or replace view flow as
with coin as (
    select * from flow_coin
),

traded as (
    select
        product,
        minute,
        cast(greatest(round(turnover_usd), 1) as hugeint) as weight,
        cast(round(1e6 * greatest(least(return_1, 1000), -1000)) as bigint) as return_1,
        cast(round(1e6 * greatest(least(return_5, 1000), -1000)) as bigint) as return_5,
        cast(round(1e6 * greatest(least(return_15, 1000), -1000)) as bigint) as return_15,
        cast(round(1e6 * greatest(least(return_60, 1000), -1000)) as bigint) as return_60,
        cast(round(1e6 * volume_1_60) as bigint) as volume_1_60,
        cast(round(1e6 * volume_5_60) as bigint) as volume_5_60,
        cast(round(1e6 * volume_15_60) as bigint) as volume_15_60,
        cast(round(1e6 * signed_5) as bigint) as signed_5,
        cast(round(1e6 * signed_15) as bigint) as signed_15,
        cast(round(1e6 * signed_60) as bigint) as signed_60,
        case
            when lead(product) over () = product then least(lead(minute) over () - minute, 6)
            else 6
        end as minutes_held
    from coin
    where not is_filled
),

held as (
    select
        product,
        minute + unnest(range(minutes_held)) as minute,
        weight,
        weight * return_1 as return_1,
        weight * return_5 as return_5,
        weight * return_15 as return_15,
        weight * return_60 as return_60,
        weight * volume_1_60 as volume_1_60,
        weight * volume_5_60 as volume_5_60,
        weight * volume_15_60 as volume_15_60,
        weight * signed_5 as signed_5,
        weight * signed_15 as signed_15,
        weight * signed_60 as signed_60
    from traded
),

market as (
    select
        minute,
        sum(weight) as weight,
        sum(return_1) as return_1,
        sum(return_5) as return_5,
        sum(return_15) as return_15,
        sum(return_60) as return_60,
        sum(volume_1_60) as volume_1_60,
        sum(volume_5_60) as volume_5_60,
        sum(volume_15_60) as volume_15_60,
        sum(signed_5) as signed_5,
        sum(signed_15) as signed_15,
        sum(signed_60) as signed_60
    from held
    group by minute
),

joined as (
    select
        coin.*,
        coalesce(market.weight, 0) - coalesce(own.weight, 0) as others,
        cast(market.return_1 - coalesce(own.return_1, 0) as double) as others_return_1,
        cast(market.return_5 - coalesce(own.return_5, 0) as double) as others_return_5,
        cast(market.return_15 - coalesce(own.return_15, 0) as double) as others_return_15,
        cast(market.return_60 - coalesce(own.return_60, 0) as double) as others_return_60,
        cast(market.volume_1_60 - coalesce(own.volume_1_60, 0) as double) as others_volume_1_60,
        cast(market.volume_5_60 - coalesce(own.volume_5_60, 0) as double) as others_volume_5_60,
        cast(market.volume_15_60 - coalesce(own.volume_15_60, 0) as double) as others_volume_15_60,
        cast(market.signed_5 - coalesce(own.signed_5, 0) as double) as others_signed_5,
        cast(market.signed_15 - coalesce(own.signed_15, 0) as double) as others_signed_15,
        cast(market.signed_60 - coalesce(own.signed_60, 0) as double) as others_signed_60
    from coin
    left join market on coin.minute = market.minute
    left join held as own on coin.product = own.product and coin.minute = own.minute
),

shared as (
    select
        *,
        1e-6 / cast(nullif(others, 0) as double) as share
    from joined
)

select
    * exclude (
        turnover_usd, others, share, others_return_1, others_return_5, others_return_15, others_return_60,
        others_volume_1_60, others_volume_5_60, others_volume_15_60, others_signed_5, others_signed_15, others_signed_60
    ),
    cast(others > 0 as integer) as has_market,
    coalesce(others_return_1 * share, 0) as market_return_1,
    coalesce(others_return_5 * share, 0) as market_return_5,
    coalesce(others_return_15 * share, 0) as market_return_15,
    coalesce(others_return_60 * share, 0) as market_return_60,
    coalesce(others_volume_1_60 * share, 0) as market_volume_1_60,
    coalesce(others_volume_5_60 * share, 0) as market_volume_5_60,
    coalesce(others_volume_15_60 * share, 0) as market_volume_15_60,
    coalesce(others_signed_5 * share, 0) as market_signed_5,
    coalesce(others_signed_15 * share, 0) as market_signed_15,
    coalesce(others_signed_60 * share, 0) as market_signed_60,
    sin(minute % 1440 * (2 * pi() / 1440)) as day_sin,
    cos(minute % 1440 * (2 * pi() / 1440)) as day_cos,
    sin(minute % 720 * (2 * pi() / 720)) as half_day_sin,
    cos(minute % 720 * (2 * pi() / 720)) as half_day_cos,
    sin(minute % 60 * (2 * pi() / 60)) as hour_sin,
    cos(minute % 60 * (2 * pi() / 60)) as hour_cos,
    sin(minute % 30 * (2 * pi() / 30)) as half_hour_sin,
    cos(minute % 30 * (2 * pi() / 30)) as half_hour_cos,
    sin((minute + 4320) % 10080 * (2 * pi() / 10080)) as week_sin,
    cos((minute + 4320) % 10080 * (2 * pi() / 10080)) as week_cos
from shared;
