-- insert_session_ends: add how a session ended.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       nothing
-- parameters  one list per column, named as the column
--
-- key   none: every row is new
insert into session_ends
with fresh as (
    select
        unnest($session_id::varchar[]) as session_id,
        unnest($ended_at::timestamptz[]) as ended_at,
        unnest($reason::varchar[]) as reason,
        unnest($detail::varchar[]) as detail
)

select
    session_id,
    ended_at,
    reason,
    detail
from fresh;
