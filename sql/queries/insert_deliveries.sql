-- insert_deliveries: add tries to send messages.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       nothing
-- parameters  one list per column, named as the column
--
-- key   none: every row is new
insert into deliveries
with fresh as (
    select
        unnest($message_key::varchar[]) as message_key,
        unnest($tried_at::timestamptz[]) as tried_at,
        unnest($is_ok::boolean[]) as is_ok,
        unnest($detail::varchar[]) as detail
)

select
    message_key,
    tried_at,
    is_ok,
    detail
from fresh;
