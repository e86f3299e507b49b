-- equity: the paper account, marked to market every decided minute.
--
-- database  signals
-- grain     one row per minute
-- reads     nothing
-- known     at marked_at
--
-- marked_at               close of the minute, UTC
-- session_id              runtime session
-- balance_usd             closed profit and loss only, quote currency
-- equity_usd              balance plus open positions at their cost to close, quote currency
-- day_start_balance_usd   balance at the last midnight of the reset zone
-- open_positions          number of open paper positions
-- daily_used_pct          share of the daily loss limit in use, 0-100
-- total_used_pct          share of the total loss limit in use, 0-100
create table if not exists equity (
    marked_at timestamptz not null,
    session_id varchar not null,
    balance_usd double not null,
    equity_usd double not null,
    day_start_balance_usd double not null,
    open_positions integer not null,
    daily_used_pct double not null,
    total_used_pct double not null
);
