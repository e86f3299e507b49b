-- ingest_forget_confirmations: forget when candles were told again more than a day before the newest telling.
--
-- reads        compared, candle_confirmations
-- result       rows removed from candle_confirmations
--
-- No answer is under way for a day, so none can still come in between.
delete from candle_confirmations
where told_at < (select max(known_at) - interval '1 day' from compared);
