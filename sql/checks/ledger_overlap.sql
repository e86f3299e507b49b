-- ledger_overlap: two windows of a product overlap in the ledger.
--
-- reads    ledger
-- result   the bad rows; none is the only good answer
with followed as (
    select
        *,
        lead(start_time) over (partition by product order by start_time, end_time) as next_start_time
    from ledger
)

select *
from followed
where end_time > next_start_time or end_time <= start_time;
