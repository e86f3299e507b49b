-- feature_drift: population stability index of each model input, live against training, by day.
--
-- database  signals
-- grain     one row per (day, product, feature)
-- reads     nothing
-- known     at the end of the day
--
-- day          UTC day
-- product      exchange product id
-- feature      model input
-- psi          population stability index over ten training deciles; above 0.2 is a shift
create table if not exists feature_drift (
    day date not null,
    product varchar not null,
    feature varchar not null,
    psi double not null
);
