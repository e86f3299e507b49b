-- runtime_counts: how many sessions there were, how many minutes are decided, and the last number in the outbox.
--
-- database    signals
-- grain       one row
-- reads       sessions, decisions, outbox
-- parameters  nothing
--
-- sessions        starts of the runtime so far
-- minutes         different minutes with a decision of any product
-- last_sequence   largest sequence in the outbox, 0 when empty
select
    (select count(*) from sessions) as sessions,
    (select count(distinct open_time) from decisions) as minutes,
    (select coalesce(max(sequence), 0) from outbox) as last_sequence;
