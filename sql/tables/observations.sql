-- observations: what was observed under the same models, rules, costs and code; each lasts until the next begins.
--
-- database  signals
-- grain     one row per observation
-- reads     nothing
-- known     at began_at
--
-- observation_id   unique id
-- began_at         start of the first minute that may count, by the runtime's clock
-- mode             dryrun, shadow or live
-- models           product/kind=model_id, comma separated
-- feature_set      feature set id with hash
-- terms            JSON of the settings that decide: thresholds, rules, costs
-- code             hash of the code that decides
-- why              why it began
create table if not exists observations (
    observation_id varchar not null,
    began_at timestamptz not null,
    mode varchar not null,
    models varchar not null,
    feature_set varchar not null,
    terms varchar not null,
    code varchar not null,
    why varchar not null
);
