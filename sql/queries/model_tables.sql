-- registry_chain_links: the ids of the linked events with their links, in the order in which they came.
--
-- reads       registry_chain
-- parameters  nothing
-- grain       one row per linked event
--
-- event_id  unique id of the event
-- link      hash over the event and all before it
select
    event_id,
    link
from registry_chain
order by position;

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

-- model_metrics_unlinked: the hash of every stored figure that has no link yet.
--
-- reads       model_metrics_hashed, model_metrics_chain
-- parameters  nothing
-- grain       one row per distinct figure
--
-- row_sha256  sha256 over the columns of the row
select row_sha256
from model_metrics_hashed
where row_sha256 not in (select model_metrics_chain.row_sha256 from model_metrics_chain)
group by
    model_id,
    product,
    slice,
    metric,
    row_sha256
order by
    model_id,
    product,
    slice,
    metric,
    row_sha256;
