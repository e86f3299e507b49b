-- ingest_keep_replaced: keep the stored version of each candle that a newer one is about to replace.
--
-- reads        compared, candles_1m
-- result       rows added to candle_revisions
insert into candle_revisions by name
select
    stored.*,
    compared.known_at as superseded_at
from candles_1m as stored
inner join compared on stored.product = compared.product and stored.open_time = compared.open_time
where compared.verdict = 'newer';
