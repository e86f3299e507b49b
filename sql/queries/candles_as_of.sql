-- candles_as_of: the candles of one product and span as they were known at a moment.
--
-- reads        candles_1m, candle_revisions
-- parameters   product, since, until, cut
-- result       rows of candles_1m; the views that read them sort
--
-- Of all versions learned until the cut the last one held; the order of ties is that of ingest_compare. Only minutes with a
-- revision have more than one version, so only those are ranked.
with revised as (
    select distinct open_time
    from candle_revisions
    where product = $product and open_time >= $since and open_time < $until
),

version as (
    select *
    from candles_1m
    where
        product = $product and open_time >= $since and open_time < $until and known_at <= $cut
        and open_time in (select open_time from revised)
    union all by name
    select * exclude (superseded_at)
    from candle_revisions
    where product = $product and open_time >= $since and open_time < $until and known_at <= $cut
),

settled as (
    select *
    from version
    qualify
        row_number() over (
            partition by product, open_time
            order by known_at desc, volume desc, close desc, high desc, low desc, open desc
        ) = 1
)

select *
from candles_1m
where
    product = $product and open_time >= $since and open_time < $until and known_at <= $cut
    and open_time not in (select open_time from revised)
union all by name
select *
from settled;
