-- dq_spikes: minutes whose move stands far out of their day; real moves as often as faults, so flagged and never deleted.
--
-- grain     one row per flagged minute
-- reads     candles_1m
-- known     at the end of the UTC day
-- causal    no: a minute is held against its whole day
-- warm-up   0 minutes
--
-- product            exchange product id
-- open_time          UTC start of the minute
-- close_before       close of the candle before, quote currency
-- close              its own close, quote currency
-- move_bps           10000 * ln(close / close_before), basis points
-- typical_move_bps   median size of such moves on its UTC day, basis points
-- reverted_ratio     share of the move that the next candle took back: near 1 is a print that was an error more likely than a move
create or replace view dq_spikes as
with stepped as (
    select
        product,
        open_time,
        epoch_us(open_time) // 60000000 // 1440 as day_number,
        lag(close) over history as close_before,
        close,
        lead(close) over history as close_after
    from candles_1m
    window history as (partition by product order by open_time)
),

moved as (
    select
        *,
        1e4 * ln(cast(close as double) / cast(close_before as double)) as move_bps
    from stepped
    where close_before is not null
),

typical as (
    select
        product,
        day_number,
        median(abs(move_bps)) as typical_move_bps
    from moved
    group by
        product,
        day_number
)

select
    moved.product,
    moved.open_time,
    moved.close_before,
    moved.close,
    moved.move_bps,
    typical.typical_move_bps,
    cast(moved.close - moved.close_after as double)
    / nullif(cast(moved.close - moved.close_before as double), 0) as reverted_ratio
from moved
inner join typical on moved.product = typical.product and moved.day_number = typical.day_number
where abs(moved.move_bps) > 25 * greatest(typical.typical_move_bps, 1);
