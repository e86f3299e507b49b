-- signal_log: the signals made and how each ended, newest first, such as from signal_log('BTC', 20).
--
-- database     signals
-- grain        one row per signal
-- reads        signals, outcomes
-- known        at made_at; the outcome at closed_at
-- causal       not a feature
-- parameters   coin (all of them by default), newest (how many, 50 by default)
--
-- made_at        when, by the runtime's clock
-- product        exchange product id
-- direction      long or short
-- tier           high, medium or low
-- confidence     max(p, 1 - p)
-- mode           dryrun, shadow or live
-- entry_price    close of the minute plus costs against us, quote currency
-- closed_at      when it ended; null while it is open
-- exit_reason    target, stop, timeout, daily_loss or total_loss; null while it is open
-- net_bps        after spread, slippage and fee, basis points; null while it is open
-- is_win         whether the direction was right; null while it is open
create or replace macro signal_log(coin := null, newest := 50) as table
    select
        signal.made_at,
        signal.product,
        signal.direction,
        signal.tier,
        signal.confidence,
        signal.mode,
        signal.entry_price,
        outcome.closed_at,
        outcome.exit_reason,
        outcome.net_bps,
        outcome.is_win
    from signals as signal
    left join outcomes as outcome on signal.signal_id = outcome.signal_id
    where coin is null or signal.product = if(contains(coin, '-'), upper(coin), upper(coin) || '-USD')
    order by
        signal.made_at desc,
        signal.product
    limit newest;
