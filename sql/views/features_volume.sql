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
with summed as (
    select
        *,
        avg(volume) over last_20 as volume_mean,
        sum(volume) over last_20 as volume_sum,
        sum(cast(minute_of_segment as decimal(9, 0)) * volume) over last_20 as moment_sum
    from features_range
    window last_20 as (partition by product, segment_start order by minute rows between 19 preceding and current row)
)

-- with x = 0 .. 19: slope = sum((x - 9.5) * v) / 665, and x = minute_of_segment - its value 19 rows ago; both doubled to stay in whole numbers
select
    * exclude (volume_mean, volume_sum, moment_sum),
    case when minute_of_segment >= 19 then volume_mean end as volume_ma,
    case when minute_of_segment >= 19 then cast(volume as double) / (volume_mean + 1e-8) end as volume_ratio,
    case
        when minute_of_segment >= 19
            then cast(2 * moment_sum - cast(2 * minute_of_segment - 19 as decimal(10, 0)) * volume_sum as double) / 1330
    end as volume_trend
from summed;
