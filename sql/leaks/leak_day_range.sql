-- leak_day_range: planted: where a close lies in the range of its own UTC day, the rest of the day included.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     when the day has ended
-- causal    no: planted, highest and lowest of the day come later
-- warm-up   0 minutes
--
-- product        exchange product id
-- open_time      UTC start of the minute
-- minute         the same as whole minutes since 1970
-- is_filled      whether nobody traded in this minute
-- close          last trade price, quote currency
-- day_position   (close - the day's lowest) / (the day's highest - the day's lowest)
create or replace view leak_day_range as
select
    product,
    open_time,
    minute,
    is_filled,
    close,
    (close - min(low) over (partition by product, minute // 1440))
    / (max(high) over (partition by product, minute // 1440) - min(low) over (partition by product, minute // 1440))
        as day_position
from candles_dense;
