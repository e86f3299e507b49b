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

-- runtime_observations: every observation, the newest last.
--
-- database    signals
-- grain       one row per observation
-- reads       observations
-- parameters  nothing
--
-- result      rows of observations
select *
from observations
order by
    began_at,
    rowid;

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

-- runtime_last_minutes: the last minute decided for each product, its tier and its price.
--
-- database    signals
-- grain       one row per product
-- reads       decisions
-- parameters  nothing
--
-- product     exchange product id
-- open_time   UTC start of the last minute decided
-- tier        last tier known, null if there never was one
-- close       last close seen, null if there never was a candle
select
    product,
    max(open_time) as open_time,
    arg_max(tier, open_time) filter (where tier is not null) as tier,
    arg_max(close, open_time) filter (where close is not null) as close
from decisions
group by product;

-- account_by_mode: the paper account of each mode as it was last marked, since the last reset.
--
-- database    signals
-- grain       one row per mode
-- reads       equity, sessions, risk_events
-- parameters  nothing
--
-- mode                    dryrun, shadow or live
-- session_id              the session that marked it last
-- marked_at               close of the minute, UTC
-- balance_usd             closed profit and loss only, quote currency
-- equity_usd              open positions at their last prices included
-- day_start_balance_usd   balance at the firm's last reset
-- open_positions          positions held
-- daily_used_pct          share of the daily limit in use, percent
-- total_used_pct          share of the total limit in use, percent
-- day_start_equity_usd    equity at the firm's last reset; records of older code know the balance only
-- highest_day_start_usd   highest balance a day of the firm began with
-- highest_equity_usd      highest equity at any moment; in records of older code at the close of a minute
select
    sessions.mode,
    arg_max(equity.session_id, marked_at) as session_id,
    max(marked_at) as marked_at,
    arg_max(balance_usd, marked_at) as balance_usd,
    arg_max(equity_usd, marked_at) as equity_usd,
    arg_max(day_start_balance_usd, marked_at) as day_start_balance_usd,
    arg_max(open_positions, marked_at) as open_positions,
    arg_max(daily_used_pct, marked_at) as daily_used_pct,
    arg_max(total_used_pct, marked_at) as total_used_pct,
    coalesce(
        arg_max(day_start_equity_usd, marked_at),
        arg_max(day_start_balance_usd, marked_at)::decimal(28, 8)
    ) as day_start_equity_usd,
    greatest(max(highest_day_start_usd), max(day_start_balance_usd)::decimal(28, 8)) as highest_day_start_usd,
    greatest(max(highest_equity_usd), max(equity_usd)::decimal(28, 8)) as highest_equity_usd
from equity
inner join sessions on equity.session_id = sessions.session_id
where
    marked_at > coalesce(
        (
            select max(happened_at)
            from risk_events
            where kind = 'account_reset'
        ),
        '-infinity'::timestamptz
    )
group by sessions.mode
order by sessions.mode;

-- account_results: what the closed positions of a mode's account came to, since the last reset.
--
-- database    signals
-- grain       one row per closed signal
-- reads       signals, outcomes, risk_events
-- parameters  $mode
--
-- closed_at   close of the minute that ended it, UTC
-- pnl_usd     profit or loss, costs included
select
    outcomes.closed_at,
    outcomes.pnl_usd
from outcomes
inner join signals on outcomes.signal_id = signals.signal_id
where
    signals.mode = $mode
    and signals.open_time >= coalesce(
        (
            select max(happened_at)
            from risk_events
            where kind = 'account_reset'
        ),
        '-infinity'::timestamptz
    )
order by outcomes.closed_at;

-- account_opened: when positions of a mode's account were opened, since the last reset.
--
-- database    signals
-- grain       one row per signal
-- reads       signals, risk_events
-- parameters  $mode
--
-- opened_at   close of the minute decided on, UTC
select open_time + interval 1 minute as opened_at
from signals
where
    mode = $mode
    and open_time >= coalesce(
        (
            select max(happened_at)
            from risk_events
            where kind = 'account_reset'
        ),
        '-infinity'::timestamptz
    )
order by open_time;

-- runtime_recent_signals: signals a mode made since a moment, for the rate limiter and the digest.
--
-- database    signals
-- grain       one row per signal
-- reads       signals
-- parameters  $since, $mode
--
-- made_at      when, by the runtime's clock
-- tier         high, medium or low
-- product      exchange product id
-- direction    long or short
-- confidence   max(p, 1 - p)
select
    made_at,
    tier,
    product,
    direction,
    confidence
from signals
where made_at >= $since and mode = $mode
order by made_at, product;

-- runtime_recent_losses: when signals of a mode lost money since a moment, for the rate limiter.
--
-- database    signals
-- grain       one row per losing signal
-- reads       outcomes, signals
-- parameters  $since, $mode
--
-- closed_at   when it ended, by the runtime's clock
select ended.closed_at
from outcomes as ended
inner join signals as made on ended.signal_id = made.signal_id
where ended.closed_at >= $since and ended.net_bps < 0 and made.mode = $mode
order by ended.closed_at;

-- runtime_open_signals: signals of a mode whose outcome is not known yet, that is its open paper positions.
--
-- database    signals
-- grain       one row per signal
-- reads       signals, outcomes, decisions, risk_events
-- parameters  $mode
--
-- signal_id         the signal
-- product           exchange product id
-- open_time         UTC start of the minute decided on
-- direction         long or short
-- reference_price   close of that minute, quote currency
-- entry_price       with costs against us, quote currency
-- target_price      take-profit, quote currency
-- stop_price        stop-loss, quote currency
-- size_usd          position size, quote currency
-- spread_bps        full spread assumed, basis points
-- slippage_bps      slippage per side assumed, basis points
select
    made.signal_id,
    made.product,
    made.open_time,
    made.direction,
    decided.close as reference_price,
    made.entry_price,
    made.target_price,
    made.stop_price,
    made.size_usd,
    made.spread_bps,
    made.slippage_bps
from signals as made
inner join decisions as decided
    on made.product = decided.product and made.open_time = decided.open_time
where
    made.mode = $mode
    and made.open_time >= coalesce(
        (
            select max(happened_at)
            from risk_events
            where kind = 'account_reset'
        ),
        '-infinity'::timestamptz
    )
    and not exists (
        select 1
        from outcomes as ended
        where ended.signal_id = made.signal_id
    )
order by made.open_time, made.product;

-- runtime_risk_events: what the guardrails of a mode's account and the kill switch said, oldest first, for a restart.
--
-- database    signals
-- grain       one row per event
-- reads       risk_events, sessions
-- parameters  $mode
--
-- happened_at   when, by the runtime's clock
-- kind          as in risk_events
select
    told.happened_at,
    told.kind
from risk_events as told
left join sessions as started on told.session_id = started.session_id
where
    told.kind like 'kill_switch%'
    or (
        -- what a person did by command is of no session, and holds for every mode
        coalesce(started.mode, $mode) = $mode
        and told.happened_at > coalesce(
            (
                select max(reset.happened_at)
                from risk_events as reset
                where reset.kind = 'account_reset'
            ),
            '-infinity'::timestamptz
        )
    )
order by told.happened_at;

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

-- runtime_last_crash: the newest session before one that ended by an error, or never said how it ended.
--
-- database    signals
-- grain       at most one row
-- reads       sessions, session_ends
-- parameters  $session_id
--
-- session_id   the session that crashed
-- started_at   when it started, by the runtime's clock
-- ended_at     when it said that it ended; null when it never did
-- detail       the error; empty when it never said
select
    started.session_id,
    started.started_at,
    ended.ended_at,
    coalesce(ended.detail, '') as detail
from sessions as started
left join session_ends as ended on started.session_id = ended.session_id
where
    started.session_id != $session_id
    and (ended.session_id is null or ended.reason = 'error')
order by started.started_at desc
limit 1;

-- runtime_told: until when people were told of signals, for the digest and the alarm of a day without any.
--
-- database    signals
-- grain       one row
-- reads       signals, outbox, sessions
-- parameters  nothing
--
-- quiet_since      the latest of the last signal, the last alarm of a day without any and the first start; null before the first start
-- digested_until   when the last digest was owed, null before the first
-- first_start      the first start ever, null before it
select
    greatest(
        (select max(made_at) from signals),
        (
            select max(created_at)
            from outbox
            where kind = 'no_signals'
        ),
        (select min(started_at) from sessions)
    ) as quiet_since,
    (
        select max(created_at)
        from outbox
        where kind = 'digest'
    ) as digested_until,
    (select min(started_at) from sessions) as first_start;

-- runtime_known_messages: which of some messages were committed before.
--
-- database    signals
-- grain       one row per message found
-- reads       outbox
-- parameters  $keys
--
-- message_key   de-duplication key
select message_key
from outbox
where list_contains($keys::varchar[], message_key);

-- runtime_pending_messages: messages owed since a moment that are neither delivered nor dead at every target, in order.
--
-- database    signals
-- grain       one row per message
-- reads       outbox, deliveries, receipts
-- parameters  $since
--
-- message_key   de-duplication key
-- created_at    when it was owed, by the runtime's clock
-- sequence      order of sending
-- kind          as in outbox
-- product       exchange product id, empty when it concerns all
-- severity      info, success, warning or failure
-- title         first line
-- body          text
-- signal_id     the signal it tells of, empty when none
-- settled       targets that took it, or at which it is a dead letter
select
    owed.message_key,
    owed.created_at,
    owed.sequence,
    owed.kind,
    owed.product,
    owed.severity,
    owed.title,
    owed.body,
    owed.signal_id,
    coalesce(
        (
            select list(distinct settled.target)
            from receipts as settled
            where settled.message_key = owed.message_key
        ),
        []
    ) as settled
from outbox as owed
where
    owed.created_at >= $since
    and not exists (
        select 1
        from deliveries as tried
        where tried.message_key = owed.message_key and tried.is_ok
    )
    and not exists (
        select 1
        from receipts as dead
        where dead.message_key = owed.message_key and dead.target = '*'
    )
order by owed.sequence;

-- runtime_dead_letters: messages that were given up at a target and not taken there since, oldest first.
--
-- database    signals
-- grain       one row per message and target
-- reads       outbox, receipts, deliveries
-- parameters  nothing
--
-- message_key   de-duplication key
-- created_at    when it was owed, by the runtime's clock
-- title         first line
-- target        which target gave it up, * for every target
-- settled_at    when it was given up
-- detail        why
select
    owed.message_key,
    owed.created_at,
    owed.title,
    settled.target,
    max(settled.settled_at) as settled_at,
    arg_max(settled.detail, settled.settled_at) as detail
from receipts as settled
inner join outbox as owed on settled.message_key = owed.message_key
where
    not exists (
        select 1
        from deliveries as tried
        where tried.message_key = owed.message_key and tried.is_ok
    )
group by
    owed.message_key,
    owed.created_at,
    owed.sequence,
    owed.title,
    settled.target
having not bool_or(settled.is_delivered)
order by
    owed.sequence,
    settled.target;

-- runtime_messages: messages by their keys, in order, with the targets that took them.
--
-- database    signals
-- grain       one row per message
-- reads       outbox, receipts
-- parameters  $keys
--
-- message_key   de-duplication key
-- created_at    when it was owed, by the runtime's clock
-- sequence      order of sending
-- kind          as in outbox
-- product       exchange product id, empty when it concerns all
-- severity      info, success, warning or failure
-- title         first line
-- body          text
-- signal_id     the signal it tells of, empty when none
-- settled       targets that took it
select
    owed.message_key,
    owed.created_at,
    owed.sequence,
    owed.kind,
    owed.product,
    owed.severity,
    owed.title,
    owed.body,
    owed.signal_id,
    coalesce(
        (
            select list(distinct taken.target)
            from receipts as taken
            where taken.message_key = owed.message_key and taken.is_delivered
        ),
        []
    ) as settled
from outbox as owed
where list_contains($keys::varchar[], owed.message_key)
order by owed.sequence;

-- execution_costs_dated: every row of execution costs, the most specific first, of those the newest.
--
-- reads        execution_costs
-- parameters   none
-- result       rows of execution_costs: a product's own before those for any, a session's before those for any, the newest first
select
    product,
    session,
    valid_from,
    spread_bps,
    slippage_bps
from execution_costs
order by
    product = '*' asc,
    session = '*' asc,
    valid_from desc;
