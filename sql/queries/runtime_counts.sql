-- runtime_counts: how many sessions there were, and the last number given in the outbox.
--
-- database    signals
-- grain       one row
-- reads       sessions, outbox
-- parameters  nothing
--
-- sessions        starts of the runtime so far
-- last_sequence   largest sequence in the outbox, 0 when empty
select
    (select count(*) from sessions) as sessions,
    (select coalesce(max(sequence), 0) from outbox) as last_sequence;
