-- candles_unasked: a candle lies in no window that the ledger calls answered.
--
-- reads    candles_1m, ledger
-- result   the bad rows; none is the only good answer
with answered as (
    select
        product,
        start_time,
        end_time
    from ledger
    where state = 'answered'
)

select candle.*
from candles_1m as candle
asof left join answered
    on candle.product = answered.product and candle.open_time >= answered.start_time
where answered.end_time is null or candle.open_time >= answered.end_time;
