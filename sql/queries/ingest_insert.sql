-- ingest_insert: add the candles of minutes that had none.
--
-- reads        compared
-- result       rows added to candles_1m
insert into candles_1m by name
select * exclude (stored_known_at, verdict)
from compared
where verdict = 'new'
order by
    product,
    open_time;
