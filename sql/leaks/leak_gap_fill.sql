-- leak_gap_fill: planted: a minute without a trade lies on the line between the close before and the close after.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     when the next candle has closed
-- causal    no: planted, gaps are interpolated
-- warm-up   0 minutes
--
-- product     exchange product id
-- open_time   UTC start of the minute
-- minute      the same as whole minutes since 1970
-- is_filled   whether nobody traded in this minute
-- close       last trade price, quote currency
-- smoothed    close, half-way to the next close where nobody traded
create or replace view leak_gap_fill as
select
    product,
    open_time,
    minute,
    is_filled,
    close,
    case
        when is_filled
            then
                (
                    close + first_value(case when not is_filled then close end ignore nulls) over (
                        partition by product, segment_start order by minute
                        rows between 1 following and unbounded following
                    )
                ) / 2
        else close
    end as smoothed
from candles_dense;
