-- revisions_pointless: a replaced candle version equals the one that replaced it, or was replaced before it was learned.
--
-- reads    candle_revisions, candles_1m
-- result   the bad rows; none is the only good answer
select revision.*
from candle_revisions as revision
left join candles_1m as candle
    on
        revision.product = candle.product
        and revision.open_time = candle.open_time
        and revision.superseded_at = candle.known_at
where
    revision.superseded_at < revision.known_at
    or (
        candle.open = revision.open
        and candle.high = revision.high
        and candle.low = revision.low
        and candle.close = revision.close
        and candle.volume = revision.volume
    );
