-- registry_events: the model registry's history, append-only: every training, trial, candidate, refusal, promotion, rollback.
--
-- database  market
-- grain     one row per event
-- reads     nothing
-- known     at happened_at
--
-- event_id      unique id of the event: a hash over it and all before it (random where an older version wrote it), see registry_chain
-- happened_at   when
-- kind          training, trial (a judging), candidate, refusal, promotion, rollback
-- slot          what the model serves: lstm:BTC-USD or transformer
-- model_id      the model the event is about
-- who           user and host
-- why           reason, or the gates that refused, by name; of a trial its terms, test part and passport's sha256
create table if not exists registry_events (
    event_id varchar not null,
    happened_at timestamptz not null,
    kind varchar not null,
    slot varchar not null,
    model_id varchar not null,
    who varchar not null,
    why varchar not null
);
