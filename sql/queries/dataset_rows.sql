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
