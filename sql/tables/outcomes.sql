-- outcomes: how each signal ended.
--
-- database  signals
-- grain     one row per closed signal
-- reads     nothing
-- known     at closed_at
--
-- signal_id     the signal
-- closed_at     when, by the runtime's clock
-- exit_price    price after costs against us, quote currency
-- exit_reason   target, stop, timeout, or daily_loss, total_loss or halted when a guardrail or the kill switch closed it
-- gross_bps     move in the signal's direction from close to close before costs, basis points
-- net_bps       the same from entry to exit after spread, slippage and fee, basis points
-- pnl_usd       profit or loss of the paper position, quote currency
-- is_win        gross_bps above 0: the direction was right
create table if not exists outcomes (
    signal_id varchar not null,
    closed_at timestamptz not null,
    exit_price decimal(18, 8) not null,
    exit_reason varchar not null,
    gross_bps double not null,
    net_bps double not null,
    pnl_usd double not null,
    is_win boolean not null
);
