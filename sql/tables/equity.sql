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
-- day_start_balance_usd   balance at the firm's last reset
-- open_positions          number of open paper positions
-- daily_used_pct          share of the daily loss limit in use, 0-100
-- total_used_pct          share of the total loss limit in use, 0-100
-- day_start_equity_usd    equity at the firm's last reset, open positions included; null in records of older code
-- highest_day_start_usd   highest balance a day of the firm began with so far; null in records of older code
-- highest_equity_usd      highest equity at any moment of the account so far, inside minutes too; null in records of older code
create table if not exists equity (
    marked_at timestamptz not null,
    session_id varchar not null,
    balance_usd double not null,
    equity_usd double not null,
    day_start_balance_usd double not null,
    open_positions integer not null,
    daily_used_pct double not null,
    total_used_pct double not null,
    day_start_equity_usd decimal(28, 8),
    highest_day_start_usd decimal(28, 8),
    highest_equity_usd decimal(28, 8)
);
