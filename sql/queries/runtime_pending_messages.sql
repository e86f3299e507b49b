-- runtime_pending_messages: messages owed since a moment that no try has delivered yet, in order.
--
-- database    signals
-- grain       one row per message
-- reads       outbox, deliveries
-- parameters  $since
--
-- message_key   de-duplication key
-- created_at    when it was owed, by the runtime's clock
-- sequence      order of sending
-- kind          as in outbox
-- product       exchange product id, empty when it concerns all
-- severity      info, success, warning or failure
-- title         first line
-- body          text
-- signal_id     the signal it tells of, empty when none
select
    owed.message_key,
    owed.created_at,
    owed.sequence,
    owed.kind,
    owed.product,
    owed.severity,
    owed.title,
    owed.body,
    owed.signal_id
from outbox as owed
where
    owed.created_at >= $since
    and not exists (
        select 1
        from deliveries as tried
        where tried.message_key = owed.message_key and tried.is_ok
    )
order by owed.sequence;
