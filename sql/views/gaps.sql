-- gaps: every run of minutes without a candle between two candles of a product.
--
-- grain     one row per run
-- reads     candles_1m, ledger
-- known     when the candle after it is learned
-- causal    no: a run is known once it has ended
-- warm-up   0 minutes
--
-- product           exchange product id
-- gap_start         first missing minute, UTC
-- gap_end           the minute after the last missing one, UTC: the next candle
-- missing_minutes   its length, minutes
-- empty_minutes     of them, minutes the exchange said it has nothing for; the others were never answered
-- is_long           more than 60 minutes: a new segment starts after it
create or replace view gaps as
with stepped as (
    select
        product,
        open_time,
        lead(open_time) over (partition by product order by open_time) as next_open_time
    from candles_1m
),

run as (
    select
        product,
        make_timestamptz(epoch_us(open_time) + 60000000) as gap_start,
        next_open_time as gap_end,
        epoch_us(next_open_time) // 60000000 - epoch_us(open_time) // 60000000 - 1 as missing_minutes
    from stepped
    where epoch_us(next_open_time) - epoch_us(open_time) > 60000000
),

answered as (
    select
        run.product,
        run.gap_start,
        sum(
            epoch_us(least(run.gap_end, ledger.end_time)) // 60000000
            - epoch_us(greatest(run.gap_start, ledger.start_time)) // 60000000
        ) as empty_minutes
    from run
    inner join ledger
        on
            run.product = ledger.product
            and run.gap_start < ledger.end_time
            and run.gap_end > ledger.start_time
    where ledger.state = 'answered'
    group by
        run.product,
        run.gap_start
)

select
    run.product,
    run.gap_start,
    run.gap_end,
    run.missing_minutes,
    cast(coalesce(answered.empty_minutes, 0) as bigint) as empty_minutes,
    run.missing_minutes > 60 as is_long
from run
left join answered on run.product = answered.product and run.gap_start = answered.gap_start;
