-- deliveries: every try to send a message; a message is delivered once one try is ok; receipts has each target's.
--
-- database  signals
-- grain     one row per try
-- reads     nothing
-- known     at tried_at
--
-- message_key   the message
-- tried_at      when, by the machine's clock
-- is_ok         whether every target has taken it by now
-- detail        the target and what it said, without secrets
create table if not exists deliveries (
    message_key varchar not null,
    tried_at timestamptz not null,
    is_ok boolean not null,
    detail varchar not null
);
