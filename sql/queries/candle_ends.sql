-- candle_ends: first and last candle of one product.
--
-- reads        candles_1m
-- parameters   product
-- result       first_open_time, last_open_time; null when there is none
select
    min(open_time) as first_open_time,
    max(open_time) as last_open_time
from candles_1m
where product = $product;
