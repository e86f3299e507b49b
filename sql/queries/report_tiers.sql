-- report_tiers: how many scored decisions fell into each tier, by hour.
--
-- database    signals
-- grain       one row per (product, hour)
-- reads       decisions
-- parameters  $since, $until, $is_shadow
--
-- product     exchange product id
-- hour        UTC hour
-- high        scored decisions in tier high
-- medium      in tier medium
-- low         in tier low
select
    product,
    date_trunc('hour', open_time) as hour,
    count(*) filter (where tier = 'high') as high,
    count(*) filter (where tier = 'medium') as medium,
    count(*) filter (where tier = 'low') as low
from decisions
where open_time >= $since and open_time < $until and probability is not null and (mode = 'shadow') = $is_shadow
group by product, hour
order by product, hour;
