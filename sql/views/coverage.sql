-- coverage: what became of every minute a product was asked for.
--
-- grain     one row per product
-- reads     candles_1m, candle_quarantine, candle_revisions, ledger, listings
-- known     at any time
-- causal    not a feature
-- warm-up   0 minutes
--
-- product              exchange product id
-- listing              offered, not_offered, or null when nobody asked
-- first_open_time      first stored candle, UTC
-- last_open_time       last stored candle, UTC
-- asked_minutes        minutes an answer was got for
-- stored_minutes       minutes with a candle
-- empty_minutes        minutes the exchange has nothing for (answered, no candle)
-- failed_minutes       minutes that could not be fetched so far
-- unasked_minutes      minutes between the first and the last window asked for that nobody asked for
-- quarantined_rows     rows that broke a rule
-- revised_candles      candle versions that a later answer replaced
-- stored_pct           100 * stored_minutes over the minutes from the first candle to the last
create or replace view coverage as
with stored as (
    select
        product,
        min(open_time) as first_open_time,
        max(open_time) as last_open_time,
        count(*) as stored_minutes
    from candles_1m
    group by product
),

asked as (
    select
        product,
        sum(epoch_us(end_time) // 60000000 - epoch_us(start_time) // 60000000) filter (where state = 'answered')
            as answered,
        sum(epoch_us(end_time) // 60000000 - epoch_us(start_time) // 60000000) filter (where state = 'failed')
            as failed,
        epoch_us(max(end_time)) // 60000000 - epoch_us(min(start_time)) // 60000000 as reach
    from ledger
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
    select product from stored
    union
    select product from asked
    union
    select product from bad
    union
    select product from listings
)

select
    known.product,
    listings.state as listing,
    stored.first_open_time,
    stored.last_open_time,
    cast(coalesce(asked.answered, 0) as bigint) as asked_minutes,
    coalesce(stored.stored_minutes, 0) as stored_minutes,
    cast(greatest(coalesce(asked.answered, 0) - coalesce(stored.stored_minutes, 0), 0) as bigint) as empty_minutes,
    cast(coalesce(asked.failed, 0) as bigint) as failed_minutes,
    cast(coalesce(asked.reach - coalesce(asked.answered, 0) - coalesce(asked.failed, 0), 0) as bigint)
        as unasked_minutes,
    coalesce(bad.quarantined_rows, 0) as quarantined_rows,
    coalesce(revised.revised_candles, 0) as revised_candles,
    1e2 * stored.stored_minutes
    / (epoch_us(stored.last_open_time) // 60000000 - epoch_us(stored.first_open_time) // 60000000 + 1) as stored_pct
from known
left join listings on known.product = listings.product
left join stored on known.product = stored.product
left join asked on known.product = asked.product
left join bad on known.product = bad.product
left join revised on known.product = revised.product;
