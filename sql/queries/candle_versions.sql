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

-- candle_fingerprints: what one product's candles of each day were at a moment, in few bytes.
--
-- reads        candles_1m, candle_revisions
-- parameters   product, since, until, cut
-- result       one row per UTC day with a version learned until the cut: day (since 1970), candles (versions), mixed, added
--
-- Every version learned until the cut counts, whichever table it lies in by now: a revision that comes later changes nothing here.
with version as (
    select
        open_time,
        open,
        high,
        low,
        close,
        volume,
        source,
        known_at
    from candles_1m
    where product = $product and open_time >= $since and open_time < $until and known_at <= $cut
    union all
    select
        open_time,
        open,
        high,
        low,
        close,
        volume,
        source,
        known_at
    from candle_revisions
    where product = $product and open_time >= $since and open_time < $until and known_at <= $cut
),

hashed as (
    select
        epoch_us(open_time) // 86400000000 as day,
        hash(open_time, open, high, low, close, volume, source, known_at) as hashed_version
    from version
)

select
    day,
    count(*) as candles,
    bit_xor(hashed_version) as mixed,
    sum(hashed_version) as added
from hashed
group by day;

-- last_known: when the newest candle version of some products and a span was learned.
--
-- reads        candles_1m
-- parameters   products, since, until
-- result       known_at; null when there is no candle
select max(known_at) as known_at
from candles_1m
where
    list_contains($products, product)
    and open_time >= $since
    and open_time < $until;

-- later_revisions: candles of a product and span that became another version after a moment.
--
-- reads        candles_1m, candle_revisions
-- parameters   product, since, until, cut
-- result       open_time, sorted
select distinct candle.open_time
from candles_1m as candle
inner join candle_revisions as revision
    on candle.product = revision.product and candle.open_time = revision.open_time
where
    candle.product = $product
    and candle.open_time >= $since
    and candle.open_time < $until
    and candle.known_at > $cut
    and revision.known_at <= $cut
order by candle.open_time;

-- raw_rows: the candles of a store, as a raw export holds them.
--
-- reads        candles_1m
-- result       open_time, open, high, low, close, volume, source, known_at; sorted by open_time
select
    open_time,
    open,
    high,
    low,
    close,
    volume,
    source,
    known_at
from candles_1m
order by open_time;

-- proof_rows: hold an export, row by row, against the store as it was known at the export's cut.
--
-- reads        exported, candles_1m
-- result       open_time, verdict: lost (the store has no such candle), changed (it has another), extra (the export lacks it)
with pair as (
    select
        coalesce(exported.open_time, stored.open_time) as open_time,
        case
            when stored.open_time is null then 'lost'
            when exported.open_time is null then 'extra'
            when
                (exported.open, exported.high, exported.low, exported.close, exported.volume, exported.source)
                <> (stored.open, stored.high, stored.low, stored.close, stored.volume, stored.source)
                or exported.known_at <> stored.known_at
                then 'changed'
        end as verdict
    from exported
    full join candles_1m as stored on exported.open_time = stored.open_time
)

select
    open_time,
    verdict
from pair
where verdict is not null
order by open_time;
