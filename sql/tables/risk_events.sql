-- risk_events: every warning, block and re-arming of the guardrails.
--
-- database  signals
-- grain     one row per event
-- reads     nothing
-- known     at happened_at
--
-- happened_at   when, by the runtime's clock
-- session_id    runtime session, empty for a command
-- kind          daily_warn_60, daily_warn_80, daily_loss, total_warn_60, total_warn_80, total_loss, firm_limit, rearmed, account_reset, account_set, kill_switch_on, kill_switch_reducing, kill_switch_paused, kill_switch_off, profit_target, loss_streak, stale, crash, model_switched, model_refused, bad_score, store_blocked
-- severity      1 stops the observation clock, 2 blocks signals, 3 informs
-- detail        figures and cause
create table if not exists risk_events (
    happened_at timestamptz not null,
    session_id varchar not null,
    kind varchar not null,
    severity integer not null,
    detail varchar not null
);
