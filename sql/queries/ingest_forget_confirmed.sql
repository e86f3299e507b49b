-- ingest_forget_confirmed: remove the confirmations of the minutes whose versions are written anew.
--
-- reads        versions, candle_confirmations
-- result       rows removed from candle_confirmations
delete from candle_confirmations
where (product, open_time) in (select (product, open_time) from versions);
