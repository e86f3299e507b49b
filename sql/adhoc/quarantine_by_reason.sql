-- quarantine_by_reason: which rows were not taken, and why?
--
-- database   market
-- reads      candle_quarantine
select
    product,
    reason,
    source,
    count(*) as rows_kept_out,
    min(open_time) as first_open_time,
    max(open_time) as last_open_time
from candle_quarantine
group by
    product,
    reason,
    source
order by rows_kept_out desc;
