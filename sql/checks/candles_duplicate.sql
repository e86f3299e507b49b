-- candles_duplicate: a minute of a product is stored more than once.
--
-- reads    candles_1m
-- result   the bad rows; none is the only good answer
select
    product,
    open_time,
    count(*) as copies
from candles_1m
group by
    product,
    open_time
having count(*) > 1;
