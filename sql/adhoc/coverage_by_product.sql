-- coverage_by_product: how much of each coin's history is there, and what became of the rest?
--
-- database   market
-- reads      coverage
select
    product,
    first_open_time,
    last_open_time,
    stored_minutes,
    empty_minutes,
    failed_minutes,
    unasked_minutes,
    quarantined_rows,
    round(stored_pct, 3) as stored_pct
from coverage
order by product;
