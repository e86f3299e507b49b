-- revised_candles: which candles came back different, what changed, when, and by how much?
--
-- database   market
-- reads      candle_changes
select
    product,
    open_time,
    told_at,
    changed_at,
    changed,
    old_close,
    new_close,
    round(close_bps, 2) as close_bps,
    old_volume,
    new_volume,
    old_source,
    new_source,
    is_in_force
from candle_changes
order by
    abs(close_bps) desc,
    product,
    open_time,
    changed_at
limit 50;
