-- leak_future_shift: planted: the move of the next five minutes, as if it were that of the last five.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     at open_time + 6 minutes
-- causal    no: planted, the frame ends five rows later
-- warm-up   0 minutes
--
-- product     exchange product id
-- open_time   UTC start of the minute
-- minute      the same as whole minutes since 1970
-- is_filled   whether nobody traded in this minute
-- close       last trade price, quote currency
-- move_5      close five minutes later over close
create or replace view leak_future_shift as
select
    product,
    open_time,
    minute,
    is_filled,
    close,
    lead(close, 5) over (partition by product order by minute) / close as move_5
from candles_dense;
