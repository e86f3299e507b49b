-- dataset_rows: features, labels and parts of one span, as a data set file holds them.
--
-- reads        feature_rows, labels_15m
-- parameters   first, last, early_stop, calibration, test, purge
-- result       the columns of feature_rows, then direction_15m, return_15m, part; sorted by product, minute
--
-- feature_rows is the temporary view store/datasets.py makes from a feature set: product, open_time, minute, close, is_filled
-- and the inputs as float32. A row whose label reaches a later part (minute + purge at or after its border) is in no part.
select
    feature_rows.*,
    labels.direction_15m,
    labels.return_15m,
    case
        when labels.direction_15m is null then null
        when feature_rows.minute < $early_stop - $purge then 'train'
        when feature_rows.minute >= $early_stop and feature_rows.minute < $calibration - $purge then 'early_stop'
        when feature_rows.minute >= $calibration and feature_rows.minute < $test - $purge then 'calibration'
        when feature_rows.minute >= $test then 'test'
    end as part
from feature_rows
left join labels_15m as labels on feature_rows.product = labels.product and feature_rows.minute = labels.minute
where feature_rows.minute >= $first and feature_rows.minute < $last
order by
    feature_rows.product,
    feature_rows.minute;
