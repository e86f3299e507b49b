-- session_ends: how each runtime session ended; a session without a row here crashed or still runs.
--
-- database  signals
-- grain     one row per session that ended by itself
-- reads     nothing
-- known     at ended_at
--
-- session_id   the session
-- ended_at     when, by the runtime's clock
-- reason       iterations, signal, error
-- detail       the error's text, empty otherwise
create table if not exists session_ends (
    session_id varchar not null,
    ended_at timestamptz not null,
    reason varchar not null,
    detail varchar not null
);
