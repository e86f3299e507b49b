-- report_registry: the model registry's history, oldest first.
--
-- database    market
-- grain       one row per event
-- reads       registry_events
-- parameters  nothing
--
-- happened_at   when
-- kind          training, trial, candidate, refusal, promotion or rollback
-- slot          what the model serves
-- model_id      the model
-- who           user and host
-- why           reason, or the gates that refused
select
    happened_at,
    kind,
    slot,
    model_id,
    who,
    why
from registry_events
order by happened_at, event_id;

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

-- report_datasets: the data sets exported for training, newest first.
--
-- database    market
-- grain       one row per data set
-- reads       datasets
-- parameters  nothing
--
-- digest         sha256 of the Parquet file
-- feature_set    ordered column list it was built with
-- feature_hash   sha256 of that feature set's SQL
-- products       product ids, comma separated
-- start_time     first minute of the span, UTC
-- end_time       the minute after its last, UTC
-- row_count      rows in the file
-- created_at     when it was exported
select
    digest,
    feature_set,
    feature_hash,
    products,
    start_time,
    end_time,
    row_count,
    created_at
from datasets
order by created_at desc, digest asc;

-- report_sources: who said the stored candles, by product.
--
-- database    market
-- grain       one row per (product, source)
-- reads       candles_1m
-- parameters  nothing
--
-- product           exchange product id
-- source            coinbase, synthetic, local:<market>, import:<file>
-- candles           candles of it
-- first_open_time   the first, UTC
-- last_open_time    the last, UTC
select
    product,
    source,
    count(*) as candles,
    min(open_time) as first_open_time,
    max(open_time) as last_open_time
from candles_1m
group by product, source
order by product, source;
