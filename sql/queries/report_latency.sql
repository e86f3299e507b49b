-- report_latency: how long a decision took after its minute was known.
--
-- database    signals
-- grain       one row
-- reads       decisions
-- parameters  $since, $until
--
-- p50_ms   median latency, milliseconds
-- p95_ms   its 95 % quantile
-- max_ms   its largest value
select
    quantile_cont(latency_ms, 0.5) as p50_ms,
    quantile_cont(latency_ms, 0.95) as p95_ms,
    max(latency_ms) as max_ms
from decisions
where open_time >= $since and open_time < $until;
