-- report_prices: the decided closes of a span, thinned to one per bucket for a picture.
--
-- database    signals
-- grain       one row per (product, bucket)
-- reads       decisions
-- parameters  $since, $until, $bucket_minutes
--
-- product     exchange product id
-- open_time   UTC start of the bucket's last minute
-- close       close of that minute, quote currency
select
    product,
    max(open_time) as open_time,
    arg_max(close, open_time)::double as close
from decisions
where open_time >= $since and open_time < $until and close is not null
group by product, time_bucket(to_minutes($bucket_minutes::int), open_time)
order by product, open_time;
