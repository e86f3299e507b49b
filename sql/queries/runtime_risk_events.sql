-- runtime_risk_events: what the guardrails and the kill switch said, oldest first, for a restart.
--
-- database    signals
-- grain       one row per event
-- reads       risk_events
-- parameters  nothing
--
-- happened_at   when, by the runtime's clock
-- kind          as in risk_events
select
    happened_at,
    kind
from risk_events
order by happened_at;
