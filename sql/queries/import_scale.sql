-- import_scale: how many times the price stored around then the rows of a file are.
--
-- reads        incoming, candles_1m
-- result       median ratio of their closes to the last stored one of at most an hour before; null when there is none
with stored as (
    select
        product,
        open_time,
        close
    from candles_1m
    where
        open_time >= make_timestamptz(epoch_us((select min(open_time) from incoming)) - 3600000000)
        and open_time <= (select max(open_time) from incoming)
)

select
    median(cast(incoming.close as double) / cast(stored.close as double))
    filter (where epoch_us(incoming.open_time) - epoch_us(stored.open_time) <= 3600000000) as ratio
from incoming
asof inner join stored on incoming.product = stored.product and incoming.open_time >= stored.open_time;
