-- coverage_extent: the first minute of one product that was wanted, asked for or stored, and the minute after the last.
--
-- reads        ledger, wanted_spans, candles_1m
-- parameters   product
-- result       start_time, end_time; null when there is none
with reached as (
    select
        start_time,
        end_time
    from ledger
    where product = $product
    union all
    select
        start_time,
        end_time
    from wanted_spans
    where product = $product
    union all
    select
        open_time as start_time,
        open_time + interval '1 minute' as end_time
    from candles_1m
    where product = $product
)

select
    min(start_time) as start_time,
    max(end_time) as end_time
from reached;
