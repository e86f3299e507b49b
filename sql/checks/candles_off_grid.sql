-- candles_off_grid: a candle does not start on a whole minute.
--
-- reads    candles_1m
-- result   the bad rows; none is the only good answer
select *
from candles_1m
where epoch_us(open_time) % 60000000 <> 0;
