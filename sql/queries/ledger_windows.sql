-- ledger_windows: the ledger's windows of a product that overlap or touch a span.
--
-- reads        ledger
-- parameters   product, low, high
-- result       start_time, end_time, state, asked_at, tries, reason, source
select
    start_time,
    end_time,
    state,
    asked_at,
    tries,
    reason,
    source
from ledger
where
    product = $product
    and start_time <= $high
    and end_time >= $low
order by start_time;
