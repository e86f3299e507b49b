-- docs_candles: candles of the named products within windows of whole minutes since 1970.
--
-- reads        candles_1m
-- parameters   products, windows (a list of [first minute, end minute])
-- result       the columns of candles_1m
with reached as (
    select unnest($windows) as ends
)

select candles_1m.*
from candles_1m
inner join reached
    on
        epoch_us(candles_1m.open_time) // 60000000 >= reached.ends[1]
        and epoch_us(candles_1m.open_time) // 60000000 < reached.ends[2]
where list_contains($products, candles_1m.product);

-- docs_bars: price and volume of every product in bars of so many minutes, for the data page.
--
-- reads        candles_1m
-- parameters   minutes
-- result       product, open_time, high, low, close, volume_usd (close times volume, quote currency); doubles
with placed as (
    select
        *,
        time_bucket(to_minutes($minutes), open_time) as bar_time
    from candles_1m
)

select
    product,
    bar_time as open_time,
    cast(max(placed.high) as double) as high,
    cast(min(placed.low) as double) as low,
    cast(arg_max(placed.close, placed.open_time) as double) as close,
    sum(cast(placed.close as double) * cast(placed.volume as double)) as volume_usd
from placed
group by
    product,
    bar_time
order by
    product,
    bar_time;

-- docs_labels: the base rate of the label by product and UTC day.
--
-- reads        labels_15m
-- result       product, day, labels (minutes that have one), rises (of them, those with a higher close 15 minutes later)
select
    product,
    cast(open_time as date) as day,
    count(*) as labels,
    cast(sum(direction_15m) as bigint) as rises
from labels_15m
group by
    product,
    cast(open_time as date)
order by
    product,
    day;

-- docs_flags: what the quality views flag and what was kept out or replaced, by product.
--
-- reads        dq_spikes, dq_early_saves, candle_quarantine, candle_revisions, gaps
-- result       product, flag, found (how many), latest (open time of the newest; null when there is none)
select
    product,
    'spike' as flag,
    count(*) as found,
    max(open_time) as latest
from dq_spikes
group by product
union all
select
    product,
    'looks saved early' as flag,
    count(*) as found,
    max(open_time) as latest
from dq_early_saves
group by product
union all
select
    product,
    'row in quarantine' as flag,
    count(*) as found,
    max(open_time) as latest
from candle_quarantine
group by product
union all
select
    product,
    'revised candle' as flag,
    count(*) as found,
    max(open_time) as latest
from candle_revisions
group by product
union all
select
    product,
    'gap of over an hour' as flag,
    count(*) as found,
    max(gap_start) as latest
from gaps
where is_long
group by product
order by
    product,
    flag;

-- docs_sources: who told the stored candles.
--
-- reads        candles_1m
-- result       source
select distinct source
from candles_1m
order by source;

-- docs_dataset: the data set exported last.
--
-- reads        datasets
-- result       digest, feature_set, products, start_time, end_time, row_count, created_at, path; no row if there is none
select
    digest,
    feature_set,
    products,
    start_time,
    end_time,
    row_count,
    created_at,
    path
from datasets
order by
    created_at desc,
    digest
limit 1;
