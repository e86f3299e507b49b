-- decisions: what was decided about every closed minute, also when nothing was emitted.
--
-- database  signals
-- grain     one row per (product, open_time)
-- reads     nothing
-- known     at decided_at
--
-- product          exchange product id
-- open_time        UTC start of the minute that had just closed
-- session_id       runtime session that decided
-- decided_at       when, by the runtime's clock
-- mode             dryrun, shadow or live
-- close            close of the minute, quote currency; null when there is no candle
-- probability      ensemble probability that the close 15 minutes later is higher; null without a model or features
-- p_lstm           the coin's LSTM's probability, null if not loaded
-- p_transformer    the transformer's probability, null if not loaded
-- direction        long or short; null without a probability
-- confidence       max(p, 1 - p)
-- tier             high, medium or low after hysteresis
-- is_emitted       whether a signal was made
-- reason           emitted, or why not: no_model, no_candle, unanswered, stale_candle, bad_score, warming_up, below_threshold, rate_limited, halted, reducing, paused, daily_loss, total_loss, position_open, no_headroom, duplicate
-- latency_ms       from the close of the minute (or its arrival, in a replay) to the decision, milliseconds
-- p_boosting       the boosting member's probability, null if not loaded
create table if not exists decisions (
    product varchar not null,
    open_time timestamptz not null,
    session_id varchar not null,
    decided_at timestamptz not null,
    mode varchar not null,
    close decimal(18, 8),
    probability double,
    p_lstm double,
    p_transformer double,
    direction varchar,
    confidence double,
    tier varchar,
    is_emitted boolean not null,
    reason varchar not null,
    latency_ms double not null,
    p_boosting double
);
