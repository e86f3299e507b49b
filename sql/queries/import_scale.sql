-- import_scale: how many times the price stored around then the rows of a file are.
--
-- reads        incoming, candles_1m
-- result       median ratio of their closes to the last one stored at most an hour before and to the next one stored at most
--              an hour after, by anyone but this file; null when there is none. The same whichever of two files came first
with stored as (
    select
        product,
        open_time,
        close
    from candles_1m
    where
        open_time >= make_timestamptz(epoch_us((select min(open_time) from incoming)) - 3600000000)
        and open_time <= make_timestamptz(epoch_us((select max(open_time) from incoming)) + 3600000000)
        and source not in (select source from incoming)
),

near as (
    select
        incoming.close as told,
        stored.close as known,
        abs(epoch_us(incoming.open_time) - epoch_us(stored.open_time)) as distance_us
    from incoming
    asof inner join stored on incoming.product = stored.product and incoming.open_time >= stored.open_time
    union all
    select
        incoming.close as told,
        stored.close as known,
        abs(epoch_us(incoming.open_time) - epoch_us(stored.open_time)) as distance_us
    from incoming
    asof inner join stored on incoming.product = stored.product and incoming.open_time <= stored.open_time
)

select median(cast(told as double) / cast(known as double)) filter (where distance_us <= 3600000000) as ratio
from near;
