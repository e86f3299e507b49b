-- ledger: which minutes were asked for, when, and what the exchange said.
--
-- database  market
-- grain     one row per window that was told of alike; windows of one product do not overlap
-- reads     nothing
-- known     at asked_at
--
-- product      exchange product id
-- start_time   first minute of the window, UTC
-- end_time     the minute after its last, UTC
-- state        answered (a minute of it without a candle is proved empty), quarantined (all that was told broke a rule) or failed
-- asked_at     when the last answer came, or the last try failed; windows merge only within one hour of asking
-- tries        how often it was asked for, answers less than an hour apart counting once
-- reason       why it failed, or the rule that was broken; empty when answered
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
