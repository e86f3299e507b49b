-- report_sessions: every start of the runtime, how it ended and the last minute it decided.
--
-- database    signals
-- grain       one row per session
-- reads       sessions, session_ends, decisions
-- parameters  nothing
--
-- session_id     unique id
-- started_at     when, by the runtime's clock
-- mode           dryrun, shadow or live
-- products       product ids, comma separated
-- models         slot=model_id, comma separated
-- feature_set    feature set id with hash
-- clock          system or exchange
-- ended_at       when it ended by itself, null after a crash or while it runs
-- reason         iterations, signal or error
-- detail         the error's text
-- last_decided   when it last decided, null if it never did
-- decisions      decision rows it left
with last_decision as (
    select
        session_id,
        max(decided_at) as last_decided,
        count(*) as decisions
    from decisions
    group by session_id
)

select
    started.session_id,
    started.started_at,
    started.mode,
    started.products,
    started.models,
    started.feature_set,
    started.clock,
    ended.ended_at,
    ended.reason,
    ended.detail,
    last_decision.last_decided,
    coalesce(last_decision.decisions, 0) as decisions
from sessions as started
left join session_ends as ended on started.session_id = ended.session_id
left join last_decision on started.session_id = last_decision.session_id
order by started.started_at, started.session_id;
