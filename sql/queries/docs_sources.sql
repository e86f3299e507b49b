-- docs_sources: who told the stored candles.
--
-- reads        candles_1m
-- result       source
select distinct source
from candles_1m
order by source;
