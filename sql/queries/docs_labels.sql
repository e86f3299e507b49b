-- docs_labels: the base rate of the label by product and UTC day.
--
-- reads        labels_15m
-- result       product, day, labels (minutes that have one), rises (of them, those with a higher close 15 minutes later)
select
    product,
    cast(open_time as date) as day,
    count(*) as labels,
    cast(sum(direction_15m) as bigint) as rises
from labels_15m
group by
    product,
    cast(open_time as date)
order by
    product,
    day;
