-- runtime_last_minutes: the last minute decided for each product, and its tier.
--
-- database    signals
-- grain       one row per product
-- reads       decisions
-- parameters  nothing
--
-- product     exchange product id
-- open_time   UTC start of the last minute decided
-- tier        last tier known, null if there never was one
select
    product,
    max(open_time) as open_time,
    arg_max(tier, open_time) filter (where tier is not null) as tier
from decisions
group by product;
