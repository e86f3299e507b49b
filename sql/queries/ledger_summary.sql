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
