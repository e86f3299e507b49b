-- why_no_signal: why was nothing emitted? Decisions by reason and coin.
--
-- database   signals
-- reads      decisions
select
    product,
    reason,
    count(*) as minutes,
    round(1e2 * count(*) / sum(count(*)) over (partition by product), 2) as share_pct,
    round(max(confidence), 4) as best_confidence,
    max(open_time) as last_open_time
from decisions
group by
    product,
    reason
order by
    product,
    minutes desc;
