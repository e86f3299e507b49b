-- runtime_recent_losses: when signals lost money since a moment, for the rate limiter.
--
-- database    signals
-- grain       one row per losing signal
-- reads       outcomes
-- parameters  $since
--
-- closed_at   when it ended, by the runtime's clock
select closed_at
from outcomes
where closed_at >= $since and net_bps < 0
order by closed_at;
