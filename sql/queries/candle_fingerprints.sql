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
