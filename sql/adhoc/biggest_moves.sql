-- biggest_moves: the twenty largest moves within fifteen minutes, one a day and coin at most.
--
-- database   market
-- reads      candles_dense
with moved as (
    select
        product,
        open_time,
        minute // 1440 as day_number,
        close,
        lag(close, 15) over (partition by product, segment_start order by minute) as close_before
    from candles_dense
),

sized as (
    select
        product,
        open_time,
        day_number,
        close_before,
        close,
        1e4 * cast(close - close_before as double) / cast(close_before as double) as move_bps
    from moved
    where close_before is not null
)

select
    product,
    open_time,
    close_before,
    close,
    round(move_bps, 1) as move_bps
from sized
qualify row_number() over (partition by product, day_number order by abs(move_bps) desc, open_time) = 1
order by
    abs(move_bps) desc,
    product
limit 20;
