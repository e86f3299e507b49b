-- registry_events_linked: the registry's events in the order in which they came.
--
-- reads       registry_events, registry_chain
-- parameters  nothing
-- grain       one row per linked event
--
-- event_id     unique id of the event
-- happened_at  when
-- kind         training, trial, candidate, refusal, promotion, rollback
-- slot         what the model serves
-- model_id     the model the event is about
-- who          user and host
-- why          reason, or the gates that refused
-- link         hash over the event and all before it
select
    event.event_id,
    event.happened_at,
    event.kind,
    event.slot,
    event.model_id,
    event.who,
    event.why,
    chain.link
from registry_chain as chain
inner join registry_events as event on chain.event_id = event.event_id
order by chain.position;
