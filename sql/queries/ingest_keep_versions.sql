-- ingest_keep_versions: keep every version that another one followed.
--
-- reads        versions
-- result       rows added to candle_revisions
insert into candle_revisions by name
select * exclude (is_version)
from versions
where is_version and superseded_at is not null
order by
    product,
    open_time,
    known_at;
