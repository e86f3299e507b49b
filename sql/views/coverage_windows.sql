-- coverage_windows: every minute of every product from the first wanted or asked for to the last, as windows of one state.
--
-- grain     one row per run of minutes of one state that were asked for together; the rows of a product follow each other
-- reads     candles_1m, ledger, wanted_spans
-- known     at any time
-- causal    not a feature
-- warm-up   0 minutes
--
-- product      exchange product id
-- start_time   first minute of the run, UTC
-- end_time     the minute after its last, UTC
-- minutes      its length, minutes
-- state        stored, empty (asked, and the exchange has nothing), quarantined (all that was told broke a rule), failed or not_asked
-- asked_at     when the last answer came or the last try failed; null if nobody asked
-- tries        how often it was asked for; null if nobody asked
-- reason       why it failed, or the rule that was broken; empty otherwise
-- source       who was asked; null if nobody was
create or replace view coverage_windows as
with stepped as (
    select
        product,
        epoch_us(open_time) // 60000000 as minute,
        lag(epoch_us(open_time) // 60000000) over by_time as before,
        lead(epoch_us(open_time) // 60000000) over by_time as after
    from candles_1m
    window by_time as (partition by product order by open_time)
),

asked as (
    select
        product,
        epoch_us(start_time) // 60000000 as first_minute,
        epoch_us(end_time) // 60000000 as end_minute,
        state
    from ledger
),

-- where something begins (1) or ends (-1)
border as (
    select
        product,
        minute,
        'stored' as what,
        1 as step
    from stepped
    where before is null or minute - before > 1
    union all
    select
        product,
        minute + 1 as minute,
        'stored' as what,
        -1 as step
    from stepped
    where after is null or after - minute > 1
    union all
    select
        product,
        first_minute as minute,
        state as what,
        1 as step
    from asked
    union all
    select
        product,
        end_minute as minute,
        state as what,
        -1 as step
    from asked
    union all
    select
        product,
        epoch_us(start_time) // 60000000 as minute,
        'wanted' as what,
        1 as step
    from wanted_spans
    union all
    select
        product,
        epoch_us(end_time) // 60000000 as minute,
        'wanted' as what,
        -1 as step
    from wanted_spans
),

change as (
    select
        product,
        minute,
        coalesce(sum(step) filter (where what = 'stored'), 0) as stored,
        coalesce(sum(step) filter (where what = 'answered'), 0) as answered,
        coalesce(sum(step) filter (where what = 'quarantined'), 0) as quarantined,
        coalesce(sum(step) filter (where what = 'failed'), 0) as failed
    from border
    group by
        product,
        minute
),

piece as (
    select
        product,
        minute as first_minute,
        lead(minute) over by_minute as end_minute,
        case
            when sum(stored) over by_minute > 0 then 'stored'
            when sum(quarantined) over by_minute > 0 then 'quarantined'
            when sum(answered) over by_minute > 0 then 'empty'
            when sum(failed) over by_minute > 0 then 'failed'
            else 'not_asked'
        end as state
    from change
    window by_minute as (partition by product order by minute)
),

-- a border inside a run changes nothing: the end of a failure under a stored run, say
placed as (
    select
        piece.*,
        if(asked.end_minute > piece.first_minute, asked.first_minute, null) as asked_minute
    from piece
    asof left join asked
        on piece.product = asked.product and piece.first_minute >= asked.first_minute
    where piece.end_minute is not null
),

numbered as (
    select
        *,
        coalesce(
            (state, asked_minute) is distinct from lag((state, asked_minute)) over (
                partition by product order by first_minute
            ),
            true
        ) as is_first
    from placed
),

grouped as (
    select
        *,
        sum(if(is_first, 1, 0)) over (partition by product order by first_minute) as run_number
    from numbered
),

run as (
    select
        product,
        state,
        asked_minute,
        min(first_minute) as first_minute,
        max(end_minute) as end_minute
    from grouped
    group by
        product,
        state,
        asked_minute,
        run_number
)

select
    run.product,
    make_timestamptz(run.first_minute * 60000000) as start_time,
    make_timestamptz(run.end_minute * 60000000) as end_time,
    run.end_minute - run.first_minute as minutes,
    run.state,
    ledger.asked_at,
    ledger.tries,
    if(run.state in ('failed', 'quarantined'), ledger.reason, '') as reason,
    ledger.source
from run
left join ledger
    on run.product = ledger.product and make_timestamptz(run.asked_minute * 60000000) = ledger.start_time;
