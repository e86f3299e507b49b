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
