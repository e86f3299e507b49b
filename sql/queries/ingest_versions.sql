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
