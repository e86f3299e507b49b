-- coverage_rows: the view coverage, by product.
--
-- reads        coverage
-- result       the columns of coverage
select *
from coverage
order by product;
