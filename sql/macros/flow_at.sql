-- flow_at: the inputs of flow at a moment, those of the last minute that had closed by then, such as from flow_at('BTC', now()).
--
-- grain        one row, or none while history is too short
-- reads        flow
-- known        at the moment
-- causal       a minute counts from its close, open_time + 1 minute
-- parameters   coin (BTC-USD, or BTC for it), moment (now() by default, or text such as 2025-03-01 12:00, UTC in any session unless it names a zone); computes all coins' whole history: some seconds a year
create or replace macro flow_at(coin, moment := now()) as table
    select *
    from flow
    where
        product = if(contains(coin, '-'), upper(coin), upper(coin) || '-USD')
        and open_time <= if(
            -- a clock followed by an offset or a zone's name: anything else is UTC, whatever the session's zone
            regexp_matches(cast(moment as varchar), ':.*(Z|[+-][0-9:]+| [A-Za-z/_]+)$'),
            cast(cast(moment as varchar) as timestamptz),
            make_timestamptz(epoch_us(cast(cast(moment as varchar) as timestamp)))
        ) - interval '1 minute'
    order by open_time desc
    limit 1;
