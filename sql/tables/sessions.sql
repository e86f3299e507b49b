-- sessions: every start of the runtime.
--
-- database  signals
-- grain     one row per start
-- reads     nothing
-- known     at started_at
--
-- session_id    unique id
-- started_at    when, by the runtime's clock
-- mode          dryrun, shadow or live
-- products      product ids, comma separated
-- models        the models loaded, slot=model_id, comma separated
-- feature_set   feature set id with hash
-- clock         system or exchange
create table if not exists sessions (
    session_id varchar not null,
    started_at timestamptz not null,
    mode varchar not null,
    products varchar not null,
    models varchar not null,
    feature_set varchar not null,
    clock varchar not null
);
