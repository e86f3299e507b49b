-- revised_candles: which candles came back different, and by how much?
--
-- database   market
-- reads      candle_revisions, candles_1m
select
    revision.product,
    revision.open_time,
    revision.known_at as told_at,
    revision.superseded_at as told_differently_at,
    revision.close as close_then,
    candle.close as close_now,
    round(1e4 * cast(candle.close - revision.close as double) / cast(candle.close as double), 2) as difference_bps,
    candle.volume - revision.volume as volume_added
from candle_revisions as revision
inner join candles_1m as candle on revision.product = candle.product and revision.open_time = candle.open_time
order by
    abs(difference_bps) desc,
    revision.open_time
limit 50;
