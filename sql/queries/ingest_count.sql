-- ingest_count: how many incoming candles got which verdict.
--
-- reads        compared
-- result       verdict, count
select
    verdict,
    count(*) as candles
from compared
group by verdict;
