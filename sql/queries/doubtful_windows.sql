-- doubtful_windows: the minutes of one product and span that were asked for and have no candle.
--
-- reads        coverage_windows
-- parameters   product, since, until
-- result       start_time, end_time, state (empty, quarantined or failed), asked_at, tries; oldest first
select
    greatest(start_time, $since) as start_time,
    least(end_time, $until) as end_time,
    state,
    asked_at,
    tries
from coverage_windows
where
    product = $product
    and state in ('empty', 'quarantined', 'failed')
    and start_time < $until
    and end_time > $since
order by start_time;
