-- coverage_of: what became of every minute of one product on one UTC day, run by run, such as from coverage_of('BTC', '2025-03-01').
--
-- grain        one row per run of minutes of one state that touches the day, cut to it
-- reads        coverage_windows
-- known        at any time
-- causal       not a feature
-- parameters   coin (BTC-USD, or BTC for it), of_day (a date)
--
-- product      exchange product id
-- start_time   first minute of the run on that day, UTC
-- end_time     the minute after its last on that day, UTC
-- minutes      its length on that day, minutes
-- state        stored, empty (asked, and the exchange has nothing), quarantined (all that was told broke a rule), failed or not_asked
-- asked_at     when the last answer came or the last try failed; null if nobody asked
-- reason       why it failed, or the rule that was broken; empty otherwise
create or replace macro coverage_of(coin, of_day) as table
    with bound as (
        select
            *,
            greatest(start_time, cast(cast(of_day as date) as timestamptz)) as since,
            least(end_time, cast(cast(of_day as date) + 1 as timestamptz)) as until
        from coverage_windows
        where product = if(contains(coin, '-'), upper(coin), upper(coin) || '-USD')
    )

    select
        product,
        since as start_time,
        until as end_time,
        epoch_us(until) // 60000000 - epoch_us(since) // 60000000 as minutes,
        state,
        asked_at,
        reason
    from bound
    where since < until
    order by since;
