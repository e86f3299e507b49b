-- insert_outbox: add rows to outbox, leaving out those whose key is there already.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       outbox
-- parameters  one list per column, named as the column
--
-- key   message_key
insert into outbox
with fresh as (
    select
        unnest($message_key::varchar[]) as message_key,
        unnest($created_at::timestamptz[]) as created_at,
        unnest($sequence::bigint[]) as sequence,
        unnest($kind::varchar[]) as kind,
        unnest($product::varchar[]) as product,
        unnest($severity::varchar[]) as severity,
        unnest($title::varchar[]) as title,
        unnest($body::varchar[]) as body,
        unnest($signal_id::varchar[]) as signal_id
)

select
    fresh.message_key,
    fresh.created_at,
    fresh.sequence,
    fresh.kind,
    fresh.product,
    fresh.severity,
    fresh.title,
    fresh.body,
    fresh.signal_id
from fresh
where not exists (
    select 1
    from outbox as kept
    where kept.message_key = fresh.message_key
);
