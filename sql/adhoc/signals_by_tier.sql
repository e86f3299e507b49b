-- signals_by_tier: how did the signals end, by coin and tier, after costs?
--
-- database   signals
-- reads      signals, outcomes
select
    signal.product,
    signal.tier,
    signal.mode,
    count(*) as signals,
    count(outcome.signal_id) as closed,
    round(1e2 * avg(cast(outcome.is_win as integer)), 1) as win_pct,
    round(avg(outcome.gross_bps), 2) as mean_gross_bps,
    round(avg(outcome.net_bps), 2) as mean_net_bps
from signals as signal
left join outcomes as outcome on signal.signal_id = outcome.signal_id
group by
    signal.product,
    signal.tier,
    signal.mode
order by
    signal.product,
    signal.tier;
