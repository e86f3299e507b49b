-- report_equity: the paper account over a span, thinned to one row per bucket that keeps its lows.
--
-- database    signals
-- grain       one row per bucket
-- reads       equity
-- parameters  $since, $until, $bucket_minutes
--
-- marked_at               last mark in the bucket, UTC
-- equity_usd              equity at that mark, quote currency
-- low_usd                 lowest equity in the bucket
-- day_start_balance_usd   balance at the last midnight of the reset zone
-- daily_used_pct          largest share of the daily loss limit in use, 0-100
-- total_used_pct          largest share of the total loss limit in use, 0-100
select
    max(marked_at) as marked_at,
    arg_max(equity_usd, marked_at) as equity_usd,
    min(equity_usd) as low_usd,
    arg_max(day_start_balance_usd, marked_at) as day_start_balance_usd,
    max(daily_used_pct) as daily_used_pct,
    max(total_used_pct) as total_used_pct
from equity
where marked_at >= $since and marked_at < $until
group by time_bucket(to_minutes($bucket_minutes::int), marked_at)
order by marked_at;
