-- ingest_replace: put newer versions, and earlier times of learning, into candles_1m.
--
-- reads        compared, candles_1m
-- result       rows changed in candles_1m
update candles_1m
set
    open = compared.open,
    high = compared.high,
    low = compared.low,
    close = compared.close,
    volume = compared.volume,
    source = compared.source,
    known_at = compared.known_at
from compared
where
    candles_1m.product = compared.product
    and candles_1m.open_time = compared.open_time
    and compared.verdict in ('newer', 'earlier');
