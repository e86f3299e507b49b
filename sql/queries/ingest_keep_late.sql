-- ingest_keep_late: keep a version that was learned before the stored one but reaches us after it; once.
--
-- reads        compared, candle_revisions
-- result       rows added to candle_revisions
insert into candle_revisions by name
select
    * exclude (stored_known_at, verdict),
    stored_known_at as superseded_at
from compared
where
    verdict = 'older'
    and not exists (
        select 1
        from candle_revisions as kept
        where
            kept.product = compared.product
            and kept.open_time = compared.open_time
            and (kept.open, kept.high, kept.low, kept.close, kept.volume)
            = (compared.open, compared.high, compared.low, compared.close, compared.volume)
    );
