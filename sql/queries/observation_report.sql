-- report_extent: first and last minute decided on in a span, and how many rows lie between.
--
-- database    signals
-- grain       one row
-- reads       decisions
-- parameters  $since, $until
--
-- first_open_time   UTC start of the first decided minute, null when nothing was decided
-- last_open_time    UTC start of the last one
-- products          product ids decided on, comma separated, in order of name
-- decisions         number of decision rows
select
    min(open_time) as first_open_time,
    max(open_time) as last_open_time,
    string_agg(distinct product, ',' order by product) as products,
    count(*) as decisions
from decisions
where open_time >= $since and open_time < $until;

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

-- report_minutes: every decided minute of a span, over all products together.
--
-- database    signals
-- grain       one row per open_time
-- reads       decisions, sessions
-- parameters  $since, $until
--
-- open_time     UTC start of the minute
-- is_complete   whether every product of the session has a decision for it
-- seen          products decided in time: the exchange had answered for the minute, be it that nothing was traded
-- scored        products that had a probability
select
    made.open_time,
    count(*) >= coalesce(max(len(string_split(started.products, ','))), 1) as is_complete,
    count(*) filter (where made.reason not in ('stale_candle', 'unanswered')) as seen,
    count(made.probability) as scored
from decisions as made
left join sessions as started on made.session_id = started.session_id
where made.open_time >= $since and made.open_time < $until
group by made.open_time
order by made.open_time;

-- report_reasons: why minutes of a span did, or did not, become a signal.
--
-- database    signals
-- grain       one row per (product, reason)
-- reads       decisions
-- parameters  $since, $until
--
-- product     exchange product id
-- reason      as in decisions
-- decisions   number of decision rows
select
    product,
    reason,
    count(*) as decisions
from decisions
where open_time >= $since and open_time < $until
group by product, reason
order by decisions desc, product asc, reason asc;

-- report_tiers: how many scored decisions fell into each tier, by hour.
--
-- database    signals
-- grain       one row per (product, hour)
-- reads       decisions
-- parameters  $since, $until, $is_shadow
--
-- product     exchange product id
-- hour        UTC hour
-- high        scored decisions in tier high
-- medium      in tier medium
-- low         in tier low
select
    product,
    date_trunc('hour', open_time) as hour,
    count(*) filter (where tier = 'high') as high,
    count(*) filter (where tier = 'medium') as medium,
    count(*) filter (where tier = 'low') as low
from decisions
where open_time >= $since and open_time < $until and probability is not null and (mode = 'shadow') = $is_shadow
group by product, hour
order by product, hour;

-- report_coins: what one product's decisions of a span amount to.
--
-- database    signals
-- grain       one row per product
-- reads       decisions
-- parameters  $since, $until
--
-- product         exchange product id
-- decided         decision rows
-- scored          of them with a probability
-- emitted         of them that became a signal
-- confidence_p50  median confidence where there is one
-- confidence_p95  its 95 % quantile
-- confidence_max  its largest value
select
    product,
    count(*) as decided,
    count(probability) as scored,
    count(*) filter (where is_emitted) as emitted,
    quantile_cont(confidence, 0.5) as confidence_p50,
    quantile_cont(confidence, 0.95) as confidence_p95,
    max(confidence) as confidence_max
from decisions
where open_time >= $since and open_time < $until
group by product
order by product;

-- report_signals: every signal of a span beside its outcome, if it has one yet.
--
-- database    signals
-- grain       one row per signal
-- reads       signals, outcomes
-- parameters  $since, $until
--
-- signal_id               id
-- made_at                 when, by the runtime's clock
-- product                 exchange product id
-- open_time               UTC start of the minute decided on
-- direction               long or short
-- confidence              max(p, 1 - p)
-- tier                    high, medium or low
-- mode                    dryrun, shadow or live
-- entry_price             quote currency
-- lstm_model_id           model behind p_lstm
-- transformer_model_id    model behind p_transformer
-- boosting_model_id       model behind p_boosting
-- closed_at               when it ended, null while open
-- exit_reason             target, stop or timeout
-- gross_bps               move in its direction before costs, basis points
-- net_bps                 after costs, basis points
-- pnl_usd                 quote currency
-- is_win                  whether the direction was right, null while open
select
    made.signal_id,
    made.made_at,
    made.product,
    made.open_time,
    made.direction,
    made.confidence,
    made.tier,
    made.mode,
    made.entry_price::double as entry_price,
    made.lstm_model_id,
    made.transformer_model_id,
    made.boosting_model_id,
    ended.closed_at,
    ended.exit_reason,
    ended.gross_bps,
    ended.net_bps,
    ended.pnl_usd,
    ended.is_win
from signals as made
left join outcomes as ended on made.signal_id = ended.signal_id
where made.open_time >= $since and made.open_time < $until
order by made.open_time, made.product;

-- report_confidence: the distribution of confidence, in steps of one hundredth.
--
-- database    signals
-- grain       one row per (product, confidence_from)
-- reads       decisions
-- parameters  $since, $until
--
-- product           exchange product id
-- confidence_from   lower edge of the step, 0.50 to 0.99
-- decisions         scored decisions in it
select
    product,
    least(0.99, floor(confidence * 100) / 100) as confidence_from,
    count(*) as decisions
from decisions
where open_time >= $since and open_time < $until and confidence is not null
group by product, confidence_from
order by product, confidence_from;

-- report_latency: how long a decision took after its minute was known.
--
-- database    signals
-- grain       one row
-- reads       decisions
-- parameters  $since, $until
--
-- p50_ms   median latency, milliseconds
-- p95_ms   its 95 % quantile
-- max_ms   its largest value
select
    quantile_cont(latency_ms, 0.5) as p50_ms,
    quantile_cont(latency_ms, 0.95) as p95_ms,
    max(latency_ms) as max_ms
from decisions
where open_time >= $since and open_time < $until;

-- report_equity: the paper account over a span, thinned to one row per bucket that keeps its lows.
--
-- database    signals
-- grain       one row per bucket
-- reads       equity
-- parameters  $since, $until, $bucket_minutes
--
-- marked_at               last mark in the bucket, UTC
-- equity_usd              equity at that mark, quote currency
-- low_usd                 lowest equity in the bucket
-- day_start_balance_usd   balance at the firm's last reset
-- day_start_equity_usd    equity at the firm's last reset
-- highest_day_start_usd   highest balance a day of the firm began with so far
-- highest_equity_usd      highest equity so far
-- daily_used_pct          largest share of the daily loss limit in use, 0-100
-- total_used_pct          largest share of the total loss limit in use, 0-100
select
    max(marked_at) as marked_at,
    arg_max(equity_usd, marked_at) as equity_usd,
    min(equity_usd) as low_usd,
    arg_max(day_start_balance_usd, marked_at) as day_start_balance_usd,
    arg_max(coalesce(day_start_equity_usd, day_start_balance_usd), marked_at) as day_start_equity_usd,
    arg_max(coalesce(highest_day_start_usd, day_start_balance_usd), marked_at) as highest_day_start_usd,
    arg_max(coalesce(highest_equity_usd, equity_usd), marked_at) as highest_equity_usd,
    max(daily_used_pct) as daily_used_pct,
    max(total_used_pct) as total_used_pct
from equity
where marked_at >= $since and marked_at < $until
group by time_bucket(to_minutes($bucket_minutes::int), marked_at)
order by marked_at;

-- report_risk_events: warnings, blocks, alarms and re-armings of a span.
--
-- database    signals
-- grain       one row per event
-- reads       risk_events
-- parameters  $since, $until
--
-- happened_at   when, by the runtime's clock
-- session_id    runtime session, empty for a command
-- kind          as in risk_events
-- severity      1 stops the observation clock, 2 blocks signals, 3 informs
-- detail        figures and cause
select
    happened_at,
    session_id,
    kind,
    severity,
    detail
from risk_events
where happened_at >= $since and happened_at < $until
order by happened_at, kind;

-- report_alerts: every message owed in a span, and what became of it.
--
-- database    signals
-- grain       one row per message
-- reads       outbox, deliveries, signals
-- parameters  $since, $until
--
-- message_key    de-duplication key
-- created_at     when it was owed, by the runtime's clock
-- kind           as in outbox
-- product        exchange product id, empty when it concerns all
-- severity       info, success, warning or failure
-- title          first line
-- tier           tier of the signal it tells of, null when none
-- mode           mode of that signal, null when none
-- is_delivered   whether one try succeeded
-- tries          number of tries
-- last_detail    what the target said on the last failing try
with tries as (
    select
        message_key,
        bool_or(is_ok) as is_delivered,
        count(*) as tries,
        arg_max(detail, tried_at) filter (where not is_ok) as last_detail
    from deliveries
    group by message_key
)

select
    owed.message_key,
    owed.created_at,
    owed.kind,
    owed.product,
    owed.severity,
    owed.title,
    made.tier,
    made.mode,
    coalesce(tries.is_delivered, false) as is_delivered,
    coalesce(tries.tries, 0) as tries,
    coalesce(tries.last_detail, '') as last_detail
from outbox as owed
left join tries on owed.message_key = tries.message_key
left join signals as made on owed.signal_id = made.signal_id
where owed.created_at >= $since and owed.created_at < $until
order by owed.sequence, owed.created_at;

-- report_unannounced: high-tier signals outside shadow for which no message was ever owed; there should be none.
--
-- database    signals
-- grain       one row per signal
-- reads       signals, outbox
-- parameters  $since, $until
--
-- signal_id   the signal
-- product     exchange product id
-- open_time   UTC start of the minute decided on
select
    made.signal_id,
    made.product,
    made.open_time
from signals as made
anti join outbox as owed on made.signal_id = owed.signal_id and owed.kind = 'signal'
where made.open_time >= $since and made.open_time < $until and made.tier = 'high' and made.mode <> 'shadow'
order by made.open_time, made.product;

-- report_prices: the decided closes of a span, thinned to one per bucket for a picture.
--
-- database    signals
-- grain       one row per (product, bucket)
-- reads       decisions
-- parameters  $since, $until, $bucket_minutes
--
-- product     exchange product id
-- open_time   UTC start of the bucket's last minute
-- close       close of that minute, quote currency
select
    product,
    max(open_time) as open_time,
    arg_max(close, open_time)::double as close
from decisions
where open_time >= $since and open_time < $until and close is not null
group by product, time_bucket(to_minutes($bucket_minutes::int), open_time)
order by product, open_time;

-- report_drift: the model inputs that moved furthest from training in a span.
--
-- database    signals
-- grain       one row per (product, feature)
-- reads       feature_drift
-- parameters  $since, $until
--
-- product   exchange product id
-- feature   model input
-- psi       largest population stability index of the days touched
select
    product,
    feature,
    max(psi) as psi
from feature_drift
where day >= ($since at time zone 'UTC')::date and day < ($until at time zone 'UTC')::date + 1
group by product, feature
order by psi desc, product asc, feature asc;
