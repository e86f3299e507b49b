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
    with asked as (
        select
            epoch_us(
                if(
                    -- a clock followed by an offset or a zone's name: anything else is UTC, whatever the session's zone
                    regexp_matches(cast(of_day as varchar), ':.*(Z|[+-][0-9:]+| [A-Za-z/_]+)$'),
                    cast(cast(of_day as varchar) as timestamptz),
                    make_timestamptz(epoch_us(cast(cast(of_day as varchar) as timestamp)))
                )
            ) // 86400000000 * 86400000000 as day_us
    ),

    bound as (
        select
            coverage_windows.*,
            greatest(start_time, make_timestamptz(day_us)) as since,
            least(end_time, make_timestamptz(day_us + 86400000000)) as until
        from coverage_windows, asked
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
