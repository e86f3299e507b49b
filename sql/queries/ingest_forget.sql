-- ingest_forget: remove the stored candles that the runtime is about to add again.
--
-- reads        incoming, candles_1m
-- result       rows removed from candles_1m
delete from candles_1m
where (product, open_time) in (select (product, open_time) from incoming);
