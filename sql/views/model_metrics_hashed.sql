-- model_metrics_hashed: every stored figure of a model with a hash over its row, by which an edit shows.
--
-- grain     one row per row of model_metrics
-- reads     model_metrics
-- known     when the model was judged
-- causal    not a feature
-- warm-up   0 minutes
--
-- model_id    the model
-- product     exchange product id
-- slice       all, or session=..., month=..., coverage=..., baseline=...
-- metric      name of the figure
-- value       the figure
-- row_sha256  sha256 over the sha256 of each column of the row
create or replace view model_metrics_hashed as
select
    model_id,
    product,
    slice,
    metric,
    value,
    sha256(
        sha256(model_id)
        || sha256(product)
        || sha256(slice)
        || sha256(metric)
        || sha256(coalesce(value::varchar, ''))
        || sha256(coalesce(low_95::varchar, ''))
        || sha256(coalesce(high_95::varchar, ''))
        || sha256(row_count::varchar)
    ) as row_sha256
from model_metrics;
