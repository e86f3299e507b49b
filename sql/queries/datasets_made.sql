-- dataset_rows: features of one product and span, as a part of a data set holds them.
--
-- reads        feature_rows
-- parameters   product, first, last
-- result       the columns of feature_rows; the caller sees to their order
--
-- feature_rows is the temporary view store/month_cache.py makes from a feature set: product, open_time, minute, close, is_filled and
-- the inputs as float32.
select *
from feature_rows
where product = $product and minute >= $first and minute < $last;

-- dataset_labels: labels of one product and span, for the rows of dataset_rows.
--
-- reads        labels_15m
-- parameters   product, first, last
-- result       minute, direction_15m, return_15m; the caller sees to their order
--
-- Not joined here: a join and the sort after it cost as much as the features of half a year.
select
    minute,
    direction_15m,
    return_15m
from labels_15m
where product = $product and minute >= $first and minute < $last;

-- record_dataset: note an exported data set; one that is noted already keeps its row and becomes the latest.
--
-- reads        datasets
-- parameters   digest, feature_set, feature_hash, products, start_time, end_time, known_at_cut, row_count, created_at, path
-- result       the row of datasets, inserted or touched
merge into datasets as noted
using (select $digest as digest) as exported
    on noted.digest = exported.digest
when matched then update set created_at = $created_at
when not matched then insert (
    digest,
    feature_set,
    feature_hash,
    products,
    start_time,
    end_time,
    known_at_cut,
    row_count,
    created_at,
    path
) values (
    $digest,
    $feature_set,
    $feature_hash,
    $products,
    $start_time,
    $end_time,
    $known_at_cut,
    $row_count,
    $created_at,
    $path
);

-- recorded_datasets: what every exported data set was made of.
--
-- reads        datasets
-- result       the columns of datasets, the one exported last first
select *
from datasets
order by
    created_at desc,
    digest asc;
