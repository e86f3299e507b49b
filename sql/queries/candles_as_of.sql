-- candles_as_of: the candles of one product and span as they were known at a moment.
--
-- reads        candles_1m, candle_revisions
-- parameters   product, since, until, cut
-- result       rows of candles_1m, sorted by open_time
--
-- Of all versions learned until the cut the last one held; the order of ties is that of ingest_compare.
with version as (
    select *
    from candles_1m
    where product = $product and open_time >= $since and open_time < $until and known_at <= $cut
    union all by name
    select * exclude (superseded_at)
    from candle_revisions
    where product = $product and open_time >= $since and open_time < $until and known_at <= $cut
)

select *
from version
qualify
    row_number() over (
        partition by product, open_time
        order by known_at desc, volume desc, close desc, high desc, low desc, open desc
    ) = 1
order by open_time;
