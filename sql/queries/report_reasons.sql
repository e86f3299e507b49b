-- report_reasons: why minutes of a span did, or did not, become a signal.
--
-- database    signals
-- grain       one row per (product, reason)
-- reads       decisions
-- parameters  $since, $until
--
-- product     exchange product id
-- reason      as in decisions
-- decisions   number of decision rows
select
    product,
    reason,
    count(*) as decisions
from decisions
where open_time >= $since and open_time < $until
group by product, reason
order by decisions desc, product asc, reason asc;
