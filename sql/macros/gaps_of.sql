-- gaps_of: one product's runs of minutes without a candle, longest first, such as from gaps_of('BTC', 30).
--
-- grain        one row per run
-- reads        gaps
-- known        when the candle after it is learned
-- causal       no: a run is known once it has ended
-- parameters   coin (BTC-USD, or BTC for it), least_minutes (1 by default)
create or replace macro gaps_of(coin, least_minutes := 1) as table
    select *
    from gaps
    where product = if(contains(coin, '-'), upper(coin), upper(coin) || '-USD') and missing_minutes >= least_minutes
    order by
        missing_minutes desc,
        gap_start;
