-- ingest_keep_confirmed: write the confirmations of those minutes again, less those that became versions.
--
-- reads        versions
-- result       rows added to candle_confirmations
insert into candle_confirmations by name
select
    product,
    open_time,
    known_at as told_at,
    min(source) as source
from versions
where not is_version
group by
    product,
    open_time,
    known_at;
