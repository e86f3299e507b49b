-- leak_warm_up: planted: a mean of 20 closes whose first 19 rows of a segment take the value of the twentieth.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     at open_time + 20 minutes where a segment begins
-- causal    no: planted, the warm-up is back-filled
-- warm-up   0 minutes
--
-- product     exchange product id
-- open_time   UTC start of the minute
-- minute      the same as whole minutes since 1970
-- is_filled   whether nobody traded in this minute
-- close       last trade price, quote currency
-- ratio_20    close over the mean of 20 closes
create or replace view leak_warm_up as
with averaged as (
    select
        *,
        case when minute_of_segment >= 19 then avg(close) over last_20 end as mean_20
    from candles_dense
    window last_20 as (
        partition by product, segment_start order by minute
        rows between 19 preceding and current row
    )
)

select
    product,
    open_time,
    minute,
    is_filled,
    close,
    close / coalesce(
        mean_20,
        first_value(mean_20 ignore nulls) over (
            partition by product, segment_start order by minute
            rows between unbounded preceding and unbounded following
        )
    ) as ratio_20
from averaged;
