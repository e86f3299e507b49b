-- dataset_extent: first and last minute that has features, within a span.
--
-- reads        candles_dense
-- parameters   first, last, warm_up
-- result       first_minute, last_minute; null when there is none
select
    min(minute) as first_minute,
    max(minute) as last_minute
from candles_dense
where minute >= $first and minute < $last and minute_of_segment >= $warm_up;
