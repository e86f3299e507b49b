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
