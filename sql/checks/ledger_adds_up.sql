-- ledger_adds_up: the five states of a product's minutes do not add up to its span, or disagree with ledger and candles.
--
-- reads    coverage, ledger, wanted_spans, candles_1m
-- result   the bad rows; none is the only good answer
--
-- The view coverage lays borders along the minutes; here the same numbers are counted another way: windows by their
-- lengths, candles one by one.
with told as (
    select
        product,
        coalesce(sum(epoch_us(end_time) - epoch_us(start_time)) filter (where state = 'answered'), 0) // 60000000
            as answered,
        coalesce(sum(epoch_us(end_time) - epoch_us(start_time)) filter (where state = 'quarantined'), 0) // 60000000
            as quarantined,
        coalesce(sum(epoch_us(end_time) - epoch_us(start_time)) filter (where state = 'failed'), 0) // 60000000
            as failed
    from ledger
    group by product
),

candle as (
    select
        candles_1m.product,
        count(*) as stored,
        count(*) filter (where ledger.state = 'answered' and candles_1m.open_time < ledger.end_time) as answered
    from candles_1m
    asof left join ledger
        on candles_1m.product = ledger.product and candles_1m.open_time >= ledger.start_time
    group by candles_1m.product
),

reached as (
    select
        product,
        start_time,
        end_time
    from ledger
    union all
    select
        product,
        start_time,
        end_time
    from wanted_spans
    union all
    select
        product,
        min(open_time) as start_time,
        max(open_time) + interval '1 minute' as end_time
    from candles_1m
    group by product
),

span as (
    select
        product,
        (epoch_us(max(end_time)) - epoch_us(min(start_time))) // 60000000 as minutes
    from reached
    group by product
)

select
    coverage.*,
    span.minutes as span_counted,
    candle.stored as stored_counted,
    told.answered - coalesce(candle.answered, 0) as empty_counted,
    told.quarantined as quarantined_counted,
    told.failed as failed_counted
from coverage
left join told on coverage.product = told.product
left join candle on coverage.product = candle.product
left join span on coverage.product = span.product
where
    coverage.span_minutes <> coalesce(span.minutes, 0)
    or coverage.span_minutes
    <> coverage.stored_minutes + coverage.empty_minutes + coverage.quarantined_minutes
    + coverage.failed_minutes + coverage.unasked_minutes
    or coverage.stored_minutes <> coalesce(candle.stored, 0)
    or coverage.empty_minutes <> coalesce(told.answered, 0) - coalesce(candle.answered, 0)
    or coverage.quarantined_minutes <> coalesce(told.quarantined, 0)
    or coverage.failed_minutes <> coalesce(told.failed, 0);
