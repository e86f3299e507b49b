-- flow_at: the inputs of flow at a moment, those of the last minute that had closed by then, such as from flow_at('BTC', now()).
--
-- grain        one row, or none while history is too short
-- reads        flow
-- known        at the moment
-- causal       a minute counts from its close, open_time + 1 minute
-- parameters   coin (BTC-USD, or BTC for it), moment (now() by default, or text such as 2025-03-01 12:00, UTC); computes all coins' whole history: some seconds a year
create or replace macro flow_at(coin, moment := now()) as table
    select *
    from flow
    where
        product = if(contains(coin, '-'), upper(coin), upper(coin) || '-USD')
        and open_time <= cast(moment as timestamptz) - interval '1 minute'
    order by open_time desc
    limit 1;
