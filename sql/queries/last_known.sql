-- last_known: when the newest candle version of some products and a span was learned.
--
-- reads        candles_1m
-- parameters   products, since, until
-- result       known_at; null when there is no candle
select max(known_at) as known_at
from candles_1m
where
    list_contains($products, product)
    and open_time >= $since
    and open_time < $until;
