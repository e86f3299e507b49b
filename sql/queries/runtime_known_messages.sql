-- runtime_known_messages: which of some messages were committed before.
--
-- database    signals
-- grain       one row per message found
-- reads       outbox
-- parameters  $keys
--
-- message_key   de-duplication key
select message_key
from outbox
where list_contains($keys::varchar[], message_key);
