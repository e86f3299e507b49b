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
