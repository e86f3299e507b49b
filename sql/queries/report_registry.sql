-- report_registry: the model registry's history, oldest first.
--
-- database    market
-- grain       one row per event
-- reads       registry_events
-- parameters  nothing
--
-- happened_at   when
-- kind          training, trial, candidate, refusal, promotion or rollback
-- slot          what the model serves
-- model_id      the model
-- who           user and host
-- why           reason, or the gates that refused
select
    happened_at,
    kind,
    slot,
    model_id,
    who,
    why
from registry_events
order by happened_at, event_id;
