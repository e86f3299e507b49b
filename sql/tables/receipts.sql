-- receipts: what became of a message at each target: taken, or given up as a dead letter.
--
-- database  signals
-- grain     one row per message, target and settlement; of several the latest holds
-- reads     nothing
-- known     at settled_at
--
-- message_key    the message
-- target         scheme and a hash of the Apprise URL, without its secrets; * for every target
-- settled_at     when, by the machine's clock
-- is_delivered   whether the target took it; false is a dead letter
-- detail         why it was given up, without secrets
create table if not exists receipts (
    message_key varchar not null,
    target varchar not null,
    settled_at timestamptz not null,
    is_delivered boolean not null,
    detail varchar not null
);
