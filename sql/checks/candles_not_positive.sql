-- candles_not_positive: a candle has a price that is not above 0, or a negative volume.
--
-- reads    candles_1m
-- result   the bad rows; none is the only good answer
select *
from candles_1m
where low <= 0 or open <= 0 or high <= 0 or close <= 0 or volume < 0;
