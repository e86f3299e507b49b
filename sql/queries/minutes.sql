-- coverage_rows: the view coverage, by product.
--
-- reads        coverage
-- result       the columns of coverage
select *
from coverage
order by product;

-- coverage_days: the view coverage_daily, by product and day.
--
-- reads        coverage_daily
-- result       the columns of coverage_daily
select *
from coverage_daily
order by
    product,
    day;

-- coverage_runs: every run of minutes without a candle, with its state, oldest first by product.
--
-- reads        coverage_windows
-- result       the columns of coverage_windows
select *
from coverage_windows
where state <> 'stored'
order by
    product,
    start_time;

-- coverage_extent: the first minute of one product that was wanted, asked for or stored, and the minute after the last.
--
-- reads        ledger, wanted_spans, candles_1m
-- parameters   product
-- result       start_time, end_time; null when there is none
with reached as (
    select
        start_time,
        end_time
    from ledger
    where product = $product
    union all
    select
        start_time,
        end_time
    from wanted_spans
    where product = $product
    union all
    select
        open_time as start_time,
        open_time + interval '1 minute' as end_time
    from candles_1m
    where product = $product
)

select
    min(start_time) as start_time,
    max(end_time) as end_time
from reached;

-- gap_rows: the view gaps, longest first.
--
-- reads        gaps
-- result       the columns of gaps
select *
from gaps
order by
    missing_minutes desc,
    product,
    gap_start;

-- doubtful_windows: the minutes of one product and span that were asked for and have no candle.
--
-- reads        coverage_windows
-- parameters   product, since, until
-- result       start_time, end_time, state (empty, quarantined or failed), asked_at, tries; oldest first
select
    greatest(start_time, $since) as start_time,
    least(end_time, $until) as end_time,
    state,
    asked_at,
    tries
from coverage_windows
where
    product = $product
    and state in ('empty', 'quarantined', 'failed')
    and start_time < $until
    and end_time > $since
order by start_time;

-- early_save_windows: suspected early saves that the exchange has not confirmed since their minute was over.
--
-- reads        dq_early_saves, ledger
-- parameters   product, since, until
-- result       open_time, sorted; worth asking the exchange for, once: its own answer settles a suspicion
with answered as (
    select
        product,
        start_time,
        end_time,
        source,
        asked_at
    from ledger
    where state = 'answered'
)

select suspected.open_time
from dq_early_saves as suspected
asof left join answered
    on suspected.product = answered.product and suspected.open_time >= answered.start_time
where
    suspected.product = $product
    and suspected.open_time >= $since
    and suspected.open_time < $until
    and (
        answered.end_time is null
        or answered.end_time <= suspected.open_time
        or starts_with(answered.source, 'import:')
        -- an answer of the first seconds may itself be too early
        or epoch_us(answered.asked_at) < epoch_us(suspected.open_time) + 120000000
    )
order by suspected.open_time;

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

-- ledger_summary: what became of every minute of one product and span; each minute is in exactly one of the states.
--
-- reads        candles_1m, ledger
-- parameters   product, since, until
-- result       minutes, stored, proved_empty, quarantined, failed, not_asked, and two that must be 0: stored_unasked, asked_twice
with bound as (
    select
        epoch_us($since::timestamptz) // 60000000 as since_minute,
        epoch_us($until::timestamptz) // 60000000 as until_minute
),

asked as (
    select
        state,
        greatest(epoch_us(start_time) // 60000000, (select since_minute from bound)) as start_minute,
        least(epoch_us(end_time) // 60000000, (select until_minute from bound)) as end_minute
    from ledger
    where product = $product and start_time < $until and end_time > $since
),

followed as (
    select
        *,
        lead(start_minute) over (order by start_minute, end_minute) as next_start_minute
    from asked
),

counted as (
    select
        coalesce(sum(end_minute - start_minute) filter (where state = 'answered'), 0) as answered,
        coalesce(sum(end_minute - start_minute) filter (where state = 'quarantined'), 0) as quarantined,
        coalesce(sum(end_minute - start_minute) filter (where state = 'failed'), 0) as failed,
        coalesce(sum(greatest(end_minute - next_start_minute, 0)), 0) as asked_twice
    from followed
),

answered as (
    select
        start_minute,
        end_minute
    from asked
    where state = 'answered'
),

candle as (
    select epoch_us(open_time) // 60000000 as minute
    from candles_1m
    where product = $product and open_time >= $since and open_time < $until
),

placed as (
    select coalesce(answered.end_minute > candle.minute, false) as is_answered
    from candle
    asof left join answered on candle.minute >= answered.start_minute
),

summed as (
    select
        count(*) filter (where is_answered) as stored,
        count(*) filter (where not is_answered) as stored_unasked
    from placed
)

select
    cast(bound.until_minute - bound.since_minute as bigint) as minutes,
    cast(summed.stored as bigint) as stored,
    cast(counted.answered - summed.stored as bigint) as proved_empty,
    cast(counted.quarantined as bigint) as quarantined,
    cast(counted.failed as bigint) as failed,
    cast(
        bound.until_minute - bound.since_minute - counted.answered - counted.quarantined - counted.failed as bigint
    ) as not_asked,
    cast(summed.stored_unasked as bigint) as stored_unasked,
    cast(counted.asked_twice as bigint) as asked_twice
from bound, counted, summed;

-- flag_counts: how many minutes of a product and span are flagged; nothing is changed by a flag.
--
-- reads        dq_early_saves, dq_spikes
-- parameters   product, since, until
-- result       early_saves, spikes
select
    (
        select count(*)
        from dq_early_saves
        where product = $product and open_time >= $since and open_time < $until
    ) as early_saves,
    (
        select count(*)
        from dq_spikes
        where product = $product and open_time >= $since and open_time < $until
    ) as spikes;

-- listing: what is known of one product's listing.
--
-- reads        listings
-- parameters   product
-- result       the columns of listings
select *
from listings
where product = $product;

-- wanted_grow: widen what is wanted of one product by a span.
--
-- reads        wanted_spans
-- parameters   product, since, until, wanted_at
-- result       one row of wanted_spans changed or added
merge into wanted_spans
using (
    select
        $product as product,
        cast($since as timestamptz) as start_time,
        cast($until as timestamptz) as end_time,
        cast($wanted_at as timestamptz) as wanted_at
) as news
    on wanted_spans.product = news.product
when matched then
    update
        set
            start_time = least(wanted_spans.start_time, news.start_time),
            end_time = greatest(wanted_spans.end_time, news.end_time),
            wanted_at = news.wanted_at
when not matched then
    insert (product, start_time, end_time, wanted_at)
    values (news.product, news.start_time, news.end_time, news.wanted_at);
