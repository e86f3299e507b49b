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
with stepped as (
    select
        *,
        lag(close) over (partition by product, segment_start order by minute) as close_before
    from features_oscillator
),

ranged as (
    select
        * exclude (close_before),
        cast(high - low as double) as spread,
        greatest(high, close_before) - least(low, close_before) as true_range
    from stepped
),

averaged as (
    select
        * exclude (true_range),
        case
            when minute_of_segment >= 14
                then avg(true_range) over (
                    partition by product, segment_start
                    order by minute
                    rows between 13 preceding and current row
                )
        end as atr
    from ranged
)

select
    * exclude (spread, atr),
    spread,
    100 * spread / cast(close as double) as spread_pct,
    atr,
    spread / (atr + 1e-8) as spread_atr_ratio
from averaged;
