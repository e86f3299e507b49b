-- longest_gaps: where are the longest holes, and did the exchange say itself that it has nothing there?
--
-- database   market
-- reads      gaps
select
    product,
    gap_start,
    gap_end,
    missing_minutes,
    empty_minutes,
    is_long
from gaps
order by
    missing_minutes desc,
    product,
    gap_start
limit 20;
