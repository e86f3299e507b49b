-- outbox: every message owed to people, committed together with what it tells of.
--
-- database  signals
-- grain     one row per message
-- reads     nothing
-- known     at created_at
--
-- message_key   de-duplication key; a second message of the same key is not made
-- created_at    when, by the runtime's clock
-- sequence      order of sending
-- kind          signal, risk, start, stop, kill_switch, stale, no_signals, digest, test
-- product       exchange product id; empty when it concerns all
-- severity      info, success, warning or failure (Apprise's words)
-- title         first line
-- body          text
-- signal_id     the signal it tells of; empty when none
create table if not exists outbox (
    message_key varchar not null,
    created_at timestamptz not null,
    sequence bigint not null,
    kind varchar not null,
    product varchar not null,
    severity varchar not null,
    title varchar not null,
    body varchar not null,
    signal_id varchar not null
);
