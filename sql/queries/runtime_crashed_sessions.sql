-- runtime_crashed_sessions: earlier sessions that never said how they ended, and are not reported yet.
--
-- database    signals
-- grain       one row per session
-- reads       sessions, session_ends, risk_events
-- parameters  nothing
--
-- session_id   the session
-- started_at   when it started, by the runtime's clock
select
    started.session_id,
    started.started_at
from sessions as started
where
    not exists (
        select 1
        from session_ends as ended
        where ended.session_id = started.session_id
    )
    and not exists (
        select 1
        from risk_events as told
        where told.kind = 'crash' and told.session_id = started.session_id
    )
order by started.started_at;
