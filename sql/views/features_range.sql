-- features_range: how far one coin's price moves within a minute.
--
-- grain     one row per (product, minute)
-- carries   features_oscillator
-- reads     features_oscillator
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   14 minutes: 14 true ranges need 15 closes; null before
--
-- spread             high - low of the candle, quote currency; not a bid-ask spread
-- spread_pct         100 * (high - low) / close
-- atr                simple mean of the last 14 true ranges, quote currency; an exact decimal sum
-- spread_atr_ratio   spread / (atr + 1e-8)
create or replace view features_range as
with ticked as (
    select
        *,
        round(cast(high as double) * 1e8) as high_ticks,
        round(cast(low as double) * 1e8) as low_ticks,
        round(cast(close as double) * 1e8) as close_ticks
    from features_oscillator
),

ranged as (
    select
        * exclude (high_ticks, low_ticks),
        (high_ticks - low_ticks) / 1e8 as spread,
        -- null in a segment's first row, which has no close before it, and so in every sum that would reach across;
        -- the larger and the smaller by hand: greatest() and least() take four times as long
        case
            when minute_of_segment > 0
                then
                    case when high_ticks > lag(close_ticks) over () then high_ticks else lag(close_ticks) over () end
                    - case when low_ticks < lag(close_ticks) over () then low_ticks else lag(close_ticks) over () end
        end as true_range
    from ticked
),

summed_7 as (
    select
        * replace (
            true_range
            + lag(true_range, 1) over () + lag(true_range, 2) over () + lag(true_range, 3) over ()
            + lag(true_range, 4) over () + lag(true_range, 5) over () + lag(true_range, 6) over () as true_range
        )
    from ranged
),

summed_14 as (
    select
        * exclude (true_range),
        (true_range + lag(true_range, 7) over ()) / 1.4e9 as atr
    from summed_7
)

select
    * exclude (close_ticks, spread, atr),
    spread,
    1e10 * spread / close_ticks as spread_pct,
    atr,
    spread / (atr + 1e-8) as spread_atr_ratio
from summed_14;
