-- report_unannounced: high-tier signals outside shadow for which no message was ever owed; there should be none.
--
-- database    signals
-- grain       one row per signal
-- reads       signals, outbox
-- parameters  $since, $until
--
-- signal_id   the signal
-- product     exchange product id
-- open_time   UTC start of the minute decided on
select
    made.signal_id,
    made.product,
    made.open_time
from signals as made
anti join outbox as owed on made.signal_id = owed.signal_id and owed.kind = 'signal'
where made.open_time >= $since and made.open_time < $until and made.tier = 'high' and made.mode <> 'shadow'
order by made.open_time, made.product;
