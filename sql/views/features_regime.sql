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
--
-- The percentiles lie between the 7th and 8th and the 13th and 14th of the 20 sorted values, so the newest is below the first just
-- when 13 or more are above it, and above the second just when 13 or more are below it: counting says the same as interpolating.
-- Counted in doubles: DuckDB adds those four times faster than small integers, whose overflow it checks.
create or replace view features_regime as
with counted as (
    select
        *,
        cast(atr < lag(atr, 1) over () as double) + cast(atr < lag(atr, 2) over () as double)
        + cast(atr < lag(atr, 3) over () as double) + cast(atr < lag(atr, 4) over () as double)
        + cast(atr < lag(atr, 5) over () as double) + cast(atr < lag(atr, 6) over () as double)
        + cast(atr < lag(atr, 7) over () as double) + cast(atr < lag(atr, 8) over () as double)
        + cast(atr < lag(atr, 9) over () as double) + cast(atr < lag(atr, 10) over () as double)
        + cast(atr < lag(atr, 11) over () as double) + cast(atr < lag(atr, 12) over () as double)
        + cast(atr < lag(atr, 13) over () as double) + cast(atr < lag(atr, 14) over () as double)
        + cast(atr < lag(atr, 15) over () as double) + cast(atr < lag(atr, 16) over () as double)
        + cast(atr < lag(atr, 17) over () as double) + cast(atr < lag(atr, 18) over () as double)
        + cast(atr < lag(atr, 19) over () as double) as values_above,
        cast(atr > lag(atr, 1) over () as double) + cast(atr > lag(atr, 2) over () as double)
        + cast(atr > lag(atr, 3) over () as double) + cast(atr > lag(atr, 4) over () as double)
        + cast(atr > lag(atr, 5) over () as double) + cast(atr > lag(atr, 6) over () as double)
        + cast(atr > lag(atr, 7) over () as double) + cast(atr > lag(atr, 8) over () as double)
        + cast(atr > lag(atr, 9) over () as double) + cast(atr > lag(atr, 10) over () as double)
        + cast(atr > lag(atr, 11) over () as double) + cast(atr > lag(atr, 12) over () as double)
        + cast(atr > lag(atr, 13) over () as double) + cast(atr > lag(atr, 14) over () as double)
        + cast(atr > lag(atr, 15) over () as double) + cast(atr > lag(atr, 16) over () as double)
        + cast(atr > lag(atr, 17) over () as double) + cast(atr > lag(atr, 18) over () as double)
        + cast(atr > lag(atr, 19) over () as double) as values_below
    from features_bands
)

select
    * exclude (values_above, values_below),
    case
        when values_above >= 13 then 'low'
        when values_below >= 13 then 'high'
        when values_above is not null then 'medium'
    end as volatility_regime,
    cast(values_above >= 13 as integer) as volatility_low,
    cast(values_above < 13 and values_below < 13 as integer) as volatility_medium,
    cast(values_below >= 13 as integer) as volatility_high
from counted;
