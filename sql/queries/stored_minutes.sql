-- stored_minutes: the minutes of one product and span that have a candle.
--
-- reads        candles_1m
-- parameters   product, since, until
-- result       open_time, oldest first
select open_time
from candles_1m
where
    product = $product
    and open_time >= $since
    and open_time < $until
order by open_time;
