-- answered_sources: who answered for each of some products, failures and files aside.
--
-- reads        ledger
-- parameters   products
-- result       product, source; one row each
select distinct
    product,
    source
from ledger
where
    list_contains($products, product)
    and state != 'failed'
    and not starts_with(source, 'import:')
order by
    product,
    source;

-- ingest_stage: lay the arrays handed over as `incoming_arrays` into the temporary table `incoming`.
--
-- reads        incoming_arrays
-- result       one temporary table, one row per (product, open_time)
create or replace temp table incoming as
select
    product,
    make_timestamptz(open_us) as open_time,
    cast(open as decimal(18, 8)) as open,
    cast(high as decimal(18, 8)) as high,
    cast(low as decimal(18, 8)) as low,
    cast(close as decimal(18, 8)) as close,
    cast(volume as decimal(28, 8)) as volume,
    source,
    make_timestamptz(known_us) as known_at
from incoming_arrays;

-- ingest_compare: hold each incoming candle against the stored one.
--
-- reads        incoming, candles_1m
-- result       the temporary table `compared`: incoming rows with a verdict
--
-- new        the minute had no candle
-- same       told again as it is stored, at the same time or later
-- earlier    as it is stored, but told before
-- newer      different, told later
-- older      different, told before
-- Of two versions told at the same instant the one with more volume is the later: a minute only ever grows. The last
-- comparisons only make the order total, so that pages may arrive in any order.
create or replace temp table compared as
with stored as (
    -- the bounds let the scan skip all row groups of other times
    select *
    from candles_1m
    where
        open_time >= (select min(open_time) from incoming)
        and open_time <= (select max(open_time) from incoming)
)

select
    incoming.*,
    stored.known_at as stored_known_at,
    case
        when stored.product is null then 'new'
        when
            (incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume)
            = (stored.open, stored.high, stored.low, stored.close, stored.volume)
            then case when incoming.known_at < stored.known_at then 'earlier' else 'same' end
        when
            (incoming.known_at, incoming.volume, incoming.close, incoming.high, incoming.low, incoming.open)
            > (stored.known_at, stored.volume, stored.close, stored.high, stored.low, stored.open)
            then 'newer'
        else 'older'
    end as verdict
from incoming
left join stored on incoming.product = stored.product and incoming.open_time = stored.open_time;

-- ingest_count: how many incoming candles got which verdict.
--
-- reads        compared
-- result       verdict, count
select
    verdict,
    count(*) as candles
from compared
group by verdict;

-- ingest_versions: line up all that was ever told of the minutes that now got another telling.
--
-- reads        compared, candles_1m, candle_revisions, candle_confirmations
-- result       the temporary table `versions`: every telling of those minutes, with the time the next different one was told
--
-- is_version     it differs from the telling before it
-- superseded_at  when the next version was told; null for the one in force
create or replace temp table versions as
with touched as (
    select
        product,
        open_time
    from compared
    where verdict in ('earlier', 'newer', 'older')
),

version as (
    select candles_1m.*
    from candles_1m
    semi join touched
        on candles_1m.product = touched.product and candles_1m.open_time = touched.open_time
    union all by name
    select candle_revisions.* exclude (superseded_at)
    from candle_revisions
    semi join touched
        on candle_revisions.product = touched.product and candle_revisions.open_time = touched.open_time
),

-- a confirmation tells again what was in force then
confirmed as (
    select
        version.* exclude (source, known_at),
        candle_confirmations.source,
        candle_confirmations.told_at as known_at
    from candle_confirmations
    inner join version
        on
            candle_confirmations.product = version.product
            and candle_confirmations.open_time = version.open_time
            and candle_confirmations.told_at >= version.known_at
    qualify
        row_number() over (
            partition by version.product, version.open_time, candle_confirmations.told_at
            order by
                version.known_at desc,
                version.volume desc,
                version.close desc,
                version.high desc,
                version.low desc,
                version.open desc
        ) = 1
),

told as (
    select * from version
    union all by name
    select * from confirmed
    union all by name
    select * exclude (stored_known_at, verdict)
    from compared
    where verdict in ('earlier', 'newer', 'older')
),

telling as (
    select *
    from told
    qualify
        row_number() over (
            partition by product, open_time, known_at, volume, close, high, low, open
            order by source
        ) = 1
),

stepped as (
    select
        *,
        lag((open, high, low, close, volume)) over (
            partition by product, open_time
            order by known_at, volume, close, high, low, open
        ) as before
    from telling
),

marked as (
    select
        * exclude (before),
        coalesce((open, high, low, close, volume) != before, true) as is_version
    from stepped
)

select
    *,
    lead(case when is_version then known_at end ignore nulls) over (
        partition by product, open_time
        order by known_at, volume, close, high, low, open
    ) as superseded_at
from marked;

-- ingest_forget_versions: remove the revisions that are about to be written anew.
--
-- reads        versions, candle_revisions
-- result       rows removed from candle_revisions
delete from candle_revisions
where (product, open_time) in (select (product, open_time) from versions);

-- ingest_keep_versions: keep every version that another one followed.
--
-- reads        versions
-- result       rows added to candle_revisions
insert into candle_revisions by name
select * exclude (is_version)
from versions
where is_version and superseded_at is not null
order by
    product,
    open_time,
    known_at;

-- ingest_replace: put the versions in force, and when they were first told, into candles_1m.
--
-- reads        versions, candles_1m
-- result       rows changed in candles_1m
update candles_1m
set
    open = versions.open,
    high = versions.high,
    low = versions.low,
    close = versions.close,
    volume = versions.volume,
    source = versions.source,
    known_at = versions.known_at
from versions
where
    candles_1m.product = versions.product
    and candles_1m.open_time = versions.open_time
    and versions.is_version
    and versions.superseded_at is null;

-- ingest_forget_confirmed: remove the confirmations of the minutes whose versions are written anew.
--
-- reads        versions, candle_confirmations
-- result       rows removed from candle_confirmations
delete from candle_confirmations
where (product, open_time) in (select (product, open_time) from versions);

-- ingest_keep_confirmed: write the confirmations of those minutes again, less those that became versions.
--
-- reads        versions
-- result       rows added to candle_confirmations
insert into candle_confirmations by name
select
    product,
    open_time,
    known_at as told_at,
    min(source) as source
from versions
where not is_version
group by
    product,
    open_time,
    known_at;

-- ingest_confirm: note that stored candles were told again, later and alike; once.
--
-- reads        compared, candle_confirmations
-- result       rows added to candle_confirmations
insert into candle_confirmations by name
select
    product,
    open_time,
    known_at as told_at,
    source
from compared
where
    verdict = 'same'
    and known_at > stored_known_at
    and not exists (
        select 1
        from candle_confirmations as noted
        where
            noted.product = compared.product
            and noted.open_time = compared.open_time
            and noted.told_at = compared.known_at
    );

-- ingest_forget_confirmations: forget when candles were told again more than a day before the newest telling.
--
-- reads        compared, candle_confirmations
-- result       rows removed from candle_confirmations
--
-- No answer is under way for a day, so none can still come in between.
delete from candle_confirmations
where told_at < (select max(known_at) - interval '1 day' from compared);

-- ingest_insert: add the candles of minutes that had none.
--
-- reads        compared
-- result       rows added to candles_1m
insert into candles_1m by name
select * exclude (stored_known_at, verdict)
from compared
where verdict = 'new'
order by
    product,
    open_time;

-- ingest_forget: remove the stored candles that the runtime is about to add again.
--
-- reads        incoming, candles_1m
-- result       rows removed from candles_1m
delete from candles_1m
where (product, open_time) in (select (product, open_time) from incoming);

-- ingest_append: add every incoming candle.
--
-- reads        incoming
-- result       rows added to candles_1m
insert into candles_1m by name
select *
from incoming;

-- stored_minutes: the minutes of one product and span that have a candle.
--
-- reads        candles_1m
-- parameters   product, since, until
-- result       open_time, oldest first
select open_time
from candles_1m
where
    product = $product
    and open_time >= $since
    and open_time < $until
order by open_time;

-- ledger_windows: the ledger's windows of a product that overlap or touch a span.
--
-- reads        ledger
-- parameters   product, low, high
-- result       start_time, end_time, state, asked_at, tries, reason, source
select
    start_time,
    end_time,
    state,
    asked_at,
    tries,
    reason,
    source
from ledger
where
    product = $product
    and start_time <= $high
    and end_time >= $low
order by start_time;
