-- runtime_last_equity: the paper account as it was last marked.
--
-- database    signals
-- grain       at most one row
-- reads       equity
-- parameters  nothing
--
-- marked_at               close of the minute, UTC
-- balance_usd             closed profit and loss only, quote currency
-- day_start_balance_usd   balance at the last midnight of the reset zone
select
    marked_at,
    balance_usd,
    day_start_balance_usd
from equity
order by marked_at desc
limit 1;
