-- dq_early_saves: minutes that look as if they were saved while still open, so their last trades are missing; a suspicion, nothing is changed.
--
-- grain     one row per suspected minute
-- reads     candles_1m
-- known     at the end of the UTC day
-- causal    no: a minute is held against the next one and its whole day
-- warm-up   0 minutes
--
-- product            exchange product id
-- open_time          UTC start of the minute
-- close              its close, quote currency
-- next_open          open of the minute after it, quote currency
-- miss_bps           distance of the two, basis points; normally near 0
-- typical_miss_bps   median of it on its UTC day, basis points
-- volume_ratio       its volume over the mean of its two neighbours; below a half
create or replace view dq_early_saves as
with stepped as (
    select
        product,
        open_time,
        epoch_us(open_time) // 60000000 as minute,
        close,
        cast(volume as double) as volume,
        lead(open) over history as next_open,
        lead(epoch_us(open_time) // 60000000) over history as next_minute,
        cast(lag(volume) over history as double) as volume_before,
        cast(lead(volume) over history as double) as volume_after
    from candles_1m
    window history as (partition by product order by open_time)
),

missed as (
    select
        *,
        minute // 1440 as day_number,
        1e4 * abs(cast(next_open - close as double)) / cast(close as double) as miss_bps,
        2 * volume / nullif(volume_before + volume_after, 0) as volume_ratio
    from stepped
    where next_minute = minute + 1
),

typical as (
    select
        product,
        day_number,
        median(miss_bps) as typical_miss_bps
    from missed
    group by
        product,
        day_number
)

select
    missed.product,
    missed.open_time,
    missed.close,
    missed.next_open,
    missed.miss_bps,
    typical.typical_miss_bps,
    missed.volume_ratio
from missed
inner join typical on missed.product = typical.product and missed.day_number = typical.day_number
where missed.volume_ratio < 0.5 and missed.miss_bps > greatest(1, 20 * typical.typical_miss_bps);
