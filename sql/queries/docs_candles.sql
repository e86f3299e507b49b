-- docs_candles: candles of the named products within windows of whole minutes since 1970.
--
-- reads        candles_1m
-- parameters   products, windows (a list of [first minute, end minute])
-- result       the columns of candles_1m
with reached as (
    select unnest($windows) as ends
)

select candles_1m.*
from candles_1m
inner join reached
    on
        epoch_us(candles_1m.open_time) // 60000000 >= reached.ends[1]
        and epoch_us(candles_1m.open_time) // 60000000 < reached.ends[2]
where list_contains($products, candles_1m.product);
