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
