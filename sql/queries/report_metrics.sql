-- report_metrics: what the judged models scored on their test part, overall and for the baselines beside them.
--
-- database    market
-- grain       one row per (model_id, product, slice, metric)
-- reads       model_metrics
-- parameters  nothing
--
-- model_id    the model
-- product     exchange product id
-- slice       all, session=..., month=..., coverage=... or baseline=...
-- metric      name of the figure
-- value       the figure
-- low_95      lower end of its 95 % interval
-- high_95     upper end
-- row_count   test rows behind it
select
    model_id,
    product,
    slice,
    metric,
    value,
    low_95,
    high_95,
    row_count
from model_metrics
order by model_id, product, slice, metric;
