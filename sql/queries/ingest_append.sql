-- ingest_append: add every incoming candle.
--
-- reads        incoming
-- result       rows added to candles_1m
insert into candles_1m by name
select *
from incoming;
