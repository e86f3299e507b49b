-- model_metrics: what every judged model scored on its untouched test part, append-only, recomputable from its artefacts.
--
-- database  market
-- grain     one row per (model_id, product, slice, metric)
-- reads     nothing
-- known     when the model was judged
--
-- model_id    the model
-- product     exchange product id
-- slice       all, or session=..., month=..., coverage=..., baseline=...
-- metric      accuracy, auc, log_loss, brier, brier_skill, ece_mass, ece_width, base_rate, net_bps ...
-- value       the figure
-- low_95      lower end of its 95 % block-bootstrap interval, null where none is computed
-- high_95     upper end
-- row_count   test rows behind it
create table if not exists model_metrics (
    model_id varchar not null,
    product varchar not null,
    slice varchar not null,
    metric varchar not null,
    value double,
    low_95 double,
    high_95 double,
    row_count bigint not null
);
