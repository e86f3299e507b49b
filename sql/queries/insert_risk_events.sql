-- insert_risk_events: add events of the guardrails.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       nothing
-- parameters  one list per column, named as the column
--
-- key   none: every row is new
insert into risk_events
with fresh as (
    select
        unnest($happened_at::timestamptz[]) as happened_at,
        unnest($session_id::varchar[]) as session_id,
        unnest($kind::varchar[]) as kind,
        unnest($severity::integer[]) as severity,
        unnest($detail::varchar[]) as detail
)

select
    happened_at,
    session_id,
    kind,
    severity,
    detail
from fresh;
