-- features_at: the features a model would see at a moment: those of the last minute that had closed by then.
--
-- grain        one row, or none while history is too short
-- reads        seed39
-- known        at the moment
-- causal       a minute counts from its close, open_time + 1 minute
-- parameters   coin, moment; scans the coin's whole history, some seconds a year
create or replace macro features_at(coin, moment) as table
    select *
    from seed39
    where product = coin and open_time <= cast(moment as timestamptz) - interval '1 minute'
    order by open_time desc
    limit 1;
