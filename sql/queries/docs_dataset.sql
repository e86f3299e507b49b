-- docs_dataset: the data set exported last.
--
-- reads        datasets
-- result       digest, feature_set, products, start_time, end_time, row_count, created_at, path; no row if there is none
select
    digest,
    feature_set,
    products,
    start_time,
    end_time,
    row_count,
    created_at,
    path
from datasets
order by
    created_at desc,
    digest
limit 1;
