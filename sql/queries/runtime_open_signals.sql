-- runtime_open_signals: signals whose outcome is not known yet, that is the open paper positions.
--
-- database    signals
-- grain       one row per signal
-- reads       signals, outcomes, decisions
-- parameters  nothing
--
-- signal_id         the signal
-- product           exchange product id
-- open_time         UTC start of the minute decided on
-- direction         long or short
-- reference_price   close of that minute, quote currency
-- entry_price       with costs against us, quote currency
-- target_price      take-profit, quote currency
-- stop_price        stop-loss, quote currency
-- size_usd          position size, quote currency
-- spread_bps        full spread assumed, basis points
-- slippage_bps      slippage per side assumed, basis points
select
    made.signal_id,
    made.product,
    made.open_time,
    made.direction,
    decided.close as reference_price,
    made.entry_price,
    made.target_price,
    made.stop_price,
    made.size_usd,
    made.spread_bps,
    made.slippage_bps
from signals as made
inner join decisions as decided
    on made.product = decided.product and made.open_time = decided.open_time
where
    not exists (
        select 1
        from outcomes as ended
        where ended.signal_id = made.signal_id
    )
order by made.open_time, made.product;
