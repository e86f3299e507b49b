-- registry_chain: in which order the registry's events came, each with a hash over itself and all before it.
--
-- database  market
-- grain     one row per event of registry_events, append-only
-- reads     nothing
-- known     when its event was stored
--
-- position  1 for the oldest event
-- event_id  the event, see registry_events
-- link      sha256 over the link before and the event's columns; an edit of any event breaks it, see registry_events_edited
create table if not exists registry_chain (
    position bigint not null,
    event_id varchar not null,
    link varchar not null
);
