-- ledger: which minutes were asked for, when, and what the exchange said.
--
-- database  market
-- grain     one row per answered or failed window; windows of one product and state do not overlap
-- reads     nothing
-- known     at asked_at
--
-- product      exchange product id
-- start_time   first minute of the window, UTC
-- end_time     the minute after its last, UTC
-- state        answered (a minute of it without a candle is proved empty) or failed
-- asked_at     when the answer came, or the last try failed
-- tries        how often the window was asked for
-- reason       why it failed; empty when answered
-- source       who was asked
create table if not exists ledger (
    product varchar not null,
    start_time timestamptz not null,
    end_time timestamptz not null,
    state varchar not null,
    asked_at timestamptz not null,
    tries integer not null,
    reason varchar not null,
    source varchar not null
);
