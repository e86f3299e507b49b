-- datasets_and_models: which data sets were exported, and how accurate was what was trained since?
--
-- database   market
-- reads      datasets, model_metrics, registry_events
select
    data.created_at,
    left(data.digest, 16) as data_set,
    data.feature_set,
    data.products,
    data.row_count,
    (
        select count(*)
        from registry_events as event
        where event.happened_at >= data.created_at and event.kind = 'trial'
    ) as trials_since,
    (
        select round(max(metric.value), 4)
        from model_metrics as metric
        where metric.metric = 'accuracy' and metric.slice = 'all'
    ) as best_accuracy_ever
from datasets as data
order by data.created_at desc;
