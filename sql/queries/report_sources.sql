-- report_sources: who said the stored candles, by product.
--
-- database    market
-- grain       one row per (product, source)
-- reads       candles_1m
-- parameters  nothing
--
-- product           exchange product id
-- source            coinbase, synthetic, local:<market>, import:<file>
-- candles           candles of it
-- first_open_time   the first, UTC
-- last_open_time    the last, UTC
select
    product,
    source,
    count(*) as candles,
    min(open_time) as first_open_time,
    max(open_time) as last_open_time
from candles_1m
group by product, source
order by product, source;
