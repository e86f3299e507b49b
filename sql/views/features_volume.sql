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
