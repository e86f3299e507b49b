-- report_alerts: every message owed in a span, and what became of it.
--
-- database    signals
-- grain       one row per message
-- reads       outbox, deliveries, signals
-- parameters  $since, $until
--
-- message_key    de-duplication key
-- created_at     when it was owed, by the runtime's clock
-- kind           as in outbox
-- product        exchange product id, empty when it concerns all
-- severity       info, success, warning or failure
-- title          first line
-- tier           tier of the signal it tells of, null when none
-- mode           mode of that signal, null when none
-- is_delivered   whether one try succeeded
-- tries          number of tries
-- last_detail    what the target said on the last failing try
with tries as (
    select
        message_key,
        bool_or(is_ok) as is_delivered,
        count(*) as tries,
        arg_max(detail, tried_at) filter (where not is_ok) as last_detail
    from deliveries
    group by message_key
)

select
    owed.message_key,
    owed.created_at,
    owed.kind,
    owed.product,
    owed.severity,
    owed.title,
    made.tier,
    made.mode,
    coalesce(tries.is_delivered, false) as is_delivered,
    coalesce(tries.tries, 0) as tries,
    coalesce(tries.last_detail, '') as last_detail
from outbox as owed
left join tries on owed.message_key = tries.message_key
left join signals as made on owed.signal_id = made.signal_id
where owed.created_at >= $since and owed.created_at < $until
order by owed.sequence, owed.created_at;
