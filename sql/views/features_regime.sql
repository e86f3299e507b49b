-- features_regime: whether one coin is calm or wild against its own last twenty minutes.
--
-- grain     one row per (product, minute)
-- carries   features_bands
-- reads     features_bands
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   33 minutes: 20 values of atr; null before
--
-- volatility_regime   low, medium or high: atr below, between or above the 33rd and 67th percentile of its last 20 values; medium when flat
-- volatility_low      1 when low, else 0
-- volatility_medium   1 when medium, else 0
-- volatility_high     1 when high, else 0
create or replace view features_regime as
with ranked as (
    select
        *,
        quantile_cont(atr, [0.33, 0.67]) over (
            partition by product, segment_start
            order by minute
            rows between 19 preceding and current row
        ) as thirds
    from features_bands
),

named as (
    select
        * exclude (thirds),
        case
            when minute_of_segment < 33 then null
            when atr < thirds[1] then 'low'
            when atr > thirds[2] then 'high'
            else 'medium'
        end as volatility_regime
    from ranked
)

select
    *,
    cast(volatility_regime = 'low' as integer) as volatility_low,
    cast(volatility_regime = 'medium' as integer) as volatility_medium,
    cast(volatility_regime = 'high' as integer) as volatility_high
from named;
