-- insert_sessions: add one start of the runtime.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       nothing
-- parameters  one list per column, named as the column
--
-- key   none: every row is new
insert into sessions
with fresh as (
    select
        unnest($session_id::varchar[]) as session_id,
        unnest($started_at::timestamptz[]) as started_at,
        unnest($mode::varchar[]) as mode,
        unnest($products::varchar[]) as products,
        unnest($models::varchar[]) as models,
        unnest($feature_set::varchar[]) as feature_set,
        unnest($clock::varchar[]) as clock
)

select
    session_id,
    started_at,
    mode,
    products,
    models,
    feature_set,
    clock
from fresh;
