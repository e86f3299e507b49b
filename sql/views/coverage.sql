-- coverage: what became of every minute a product was wanted or asked for.
--
-- grain     one row per product
-- reads     coverage_windows, candles_1m, candle_quarantine, candle_revisions, listings
-- known     at any time
-- causal    not a feature
-- warm-up   0 minutes
--
-- product               exchange product id
-- listing               offered, not_offered, or null when nobody asked
-- listing_reason        the exchange's own words when it is not offered
-- first_open_time       first stored candle, UTC
-- last_open_time        last stored candle, UTC
-- asked_minutes         minutes an answer was got for: stored, empty and quarantined ones, less candles nobody asked for
-- stored_minutes        minutes with a candle
-- empty_minutes         minutes the exchange has nothing for (answered, no candle)
-- quarantined_minutes   minutes of which only rows were told that broke a rule
-- failed_minutes        minutes that could not be fetched so far
-- unasked_minutes       minutes between the first and the last wanted or asked for that nobody asked for
-- span_minutes          minutes between the first and the last wanted or asked for: the sum of the five states
-- quarantined_rows      rows that broke a rule
-- revised_candles       candle versions that a later answer replaced
-- stored_pct            100 * stored_minutes over the minutes from the first candle to the last
create or replace view coverage as
with stored as (
    select
        product,
        min(open_time) as first_open_time,
        max(open_time) as last_open_time,
        count(*) as candles
    from candles_1m
    group by product
),

asked as (
    select
        product,
        sum(minutes) filter (
            where state = 'empty' or state = 'quarantined' or (state = 'stored' and asked_at is not null)
        ) as asked_minutes,
        sum(minutes) filter (where state = 'stored') as stored_minutes,
        sum(minutes) filter (where state = 'empty') as empty_minutes,
        sum(minutes) filter (where state = 'quarantined') as quarantined_minutes,
        sum(minutes) filter (where state = 'failed') as failed_minutes,
        sum(minutes) filter (where state = 'not_asked') as unasked_minutes,
        sum(minutes) as span_minutes
    from coverage_windows
    group by product
),

bad as (
    select
        product,
        count(*) as quarantined_rows
    from candle_quarantine
    group by product
),

revised as (
    select
        product,
        count(*) as revised_candles
    from candle_revisions
    group by product
),

known as (
    select product from asked
    union
    select product from bad
    union
    select product from listings
)

select
    known.product,
    listings.state as listing,
    listings.reason as listing_reason,
    stored.first_open_time,
    stored.last_open_time,
    cast(coalesce(asked.asked_minutes, 0) as bigint) as asked_minutes,
    cast(coalesce(asked.stored_minutes, 0) as bigint) as stored_minutes,
    cast(coalesce(asked.empty_minutes, 0) as bigint) as empty_minutes,
    cast(coalesce(asked.quarantined_minutes, 0) as bigint) as quarantined_minutes,
    cast(coalesce(asked.failed_minutes, 0) as bigint) as failed_minutes,
    cast(coalesce(asked.unasked_minutes, 0) as bigint) as unasked_minutes,
    cast(coalesce(asked.span_minutes, 0) as bigint) as span_minutes,
    coalesce(bad.quarantined_rows, 0) as quarantined_rows,
    coalesce(revised.revised_candles, 0) as revised_candles,
    1e2 * stored.candles
    / (epoch_us(stored.last_open_time) // 60000000 - epoch_us(stored.first_open_time) // 60000000 + 1) as stored_pct
from known
left join listings on known.product = listings.product
left join stored on known.product = stored.product
left join asked on known.product = asked.product
left join bad on known.product = bad.product
left join revised on known.product = revised.product;
