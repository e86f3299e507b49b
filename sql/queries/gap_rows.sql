-- gap_rows: the view gaps, longest first.
--
-- reads        gaps
-- result       the columns of gaps
select *
from gaps
order by
    missing_minutes desc,
    product,
    gap_start;
