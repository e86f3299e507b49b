-- coverage_runs: every run of minutes without a candle, with its state, oldest first by product.
--
-- reads        coverage_windows
-- result       the columns of coverage_windows
select *
from coverage_windows
where state <> 'stored'
order by
    product,
    start_time;
