-- candles_known_too_early: a candle was saved while its minute was still open.
--
-- reads    candles_1m
-- result   the bad rows; none is the only good answer
select *
from candles_1m
where epoch_us(known_at) < epoch_us(open_time) + 60000000;
