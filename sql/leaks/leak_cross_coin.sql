-- leak_cross_coin: planted: what the other coins do in the minute after.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     at open_time + 2 minutes
-- causal    no: planted, other coins are joined one minute late
-- warm-up   0 minutes
--
-- product         exchange product id
-- open_time       UTC start of the minute
-- minute          the same as whole minutes since 1970
-- is_filled       whether nobody traded in this minute
-- close           last trade price, quote currency
-- others_return   mean of close over open of the other coins, one minute later; 1 where none traded
create or replace view leak_cross_coin as
with other as (
    select
        coin.product,
        coin.minute,
        avg(peer.close / peer.open) as others_return
    from candles_dense as coin
    inner join candles_dense as peer on coin.minute + 1 = peer.minute and coin.product != peer.product
    where not peer.is_filled
    group by
        coin.product,
        coin.minute
)

select
    dense.product,
    dense.open_time,
    dense.minute,
    dense.is_filled,
    dense.close,
    coalesce(other.others_return, 1) as others_return
from candles_dense as dense
left join other on dense.product = other.product and dense.minute = other.minute;
