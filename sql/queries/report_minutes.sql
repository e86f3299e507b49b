-- report_minutes: every decided minute of a span, over all products together.
--
-- database    signals
-- grain       one row per open_time
-- reads       decisions, sessions
-- parameters  $since, $until
--
-- open_time     UTC start of the minute
-- is_complete   whether every product of the session has a decision for it
-- seen          products decided in time: the exchange had answered for the minute, be it that nothing was traded
-- scored        products that had a probability
select
    made.open_time,
    count(*) >= coalesce(max(len(string_split(started.products, ','))), 1) as is_complete,
    count(*) filter (where made.reason <> 'stale_candle') as seen,
    count(made.probability) as scored
from decisions as made
left join sessions as started on made.session_id = started.session_id
where made.open_time >= $since and made.open_time < $until
group by made.open_time
order by made.open_time;
