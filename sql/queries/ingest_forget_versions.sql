-- ingest_forget_versions: remove the revisions that are about to be written anew.
--
-- reads        versions, candle_revisions
-- result       rows removed from candle_revisions
delete from candle_revisions
where (product, open_time) in (select (product, open_time) from versions);
