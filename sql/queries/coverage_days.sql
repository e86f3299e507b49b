-- coverage_days: the view coverage_daily, by product and day.
--
-- reads        coverage_daily
-- result       the columns of coverage_daily
select *
from coverage_daily
order by
    product,
    day;
