-- runtime_resume_moment: the last moment the runtime is known to have lived through.
--
-- database    signals
-- grain       one row
-- reads       decisions, sessions, session_ends
-- parameters  nothing
--
-- moment   the latest of the close of the last minute decided, the last start and the last end; null before the first start
select
    greatest(
        (select max(open_time) + interval 1 minute from decisions),
        (select max(started_at) from sessions),
        (select max(ended_at) from session_ends)
    ) as moment;
