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
