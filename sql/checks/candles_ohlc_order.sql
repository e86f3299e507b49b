-- candles_ohlc_order: a candle's open or close lies outside its low .. high.
--
-- reads    candles_1m
-- result   the bad rows; none is the only good answer
select *
from candles_1m
where low > least(open, close) or high < greatest(open, close);
