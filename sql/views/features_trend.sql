-- features_trend: mean closes over four windows, and where the close lies against them.
--
-- grain     one row per (product, minute)
-- carries   features_volume
-- reads     features_volume
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   49 minutes: 50 closes; the shorter means are there after 6, 13 and 20; null before
--
-- sma_7                mean close of the last 7 minutes, quote currency; an exact decimal sum
-- price_sma_7_ratio    close / (sma_7 + 1e-8)
-- sma_14               mean close of the last 14 minutes, quote currency
-- price_sma_14_ratio   close / (sma_14 + 1e-8)
-- sma_21               mean close of the last 21 minutes, quote currency
-- price_sma_21_ratio   close / (sma_21 + 1e-8)
-- sma_50               mean close of the last 50 minutes, quote currency
-- price_sma_50_ratio   close / (sma_50 + 1e-8)
create or replace view features_trend as
with ticked as (
    select
        *,
        round(cast(close as double) * 1e8) as close_ticks
    from features_volume
),

summed_7 as (
    select
        *,
        close_ticks
        + lag(close_ticks, 1) over () + lag(close_ticks, 2) over () + lag(close_ticks, 3) over ()
        + lag(close_ticks, 4) over () + lag(close_ticks, 5) over () + lag(close_ticks, 6) over () as sum_7
    from ticked
),

summed_21 as (
    select
        *,
        sum_7 + lag(sum_7, 7) over () as sum_14,
        sum_7 + lag(sum_7, 7) over () + lag(sum_7, 14) over () as sum_21
    from summed_7
),

averaged as (
    select
        * exclude (close_ticks, sum_7, sum_14, sum_21),
        close_ticks / 1e8 as price,
        case when minute_of_segment >= 6 then sum_7 / 7e8 end as mean_7,
        case when minute_of_segment >= 13 then sum_14 / 1.4e9 end as mean_14,
        case when minute_of_segment >= 20 then sum_21 / 2.1e9 end as mean_21,
        case
            when minute_of_segment >= 49
                then
                    (sum_21 + lag(sum_21, 21) over () + lag(sum_7, 42) over () + lag(close_ticks, 49) over ())
                    / 5e9
        end as mean_50
    from summed_21
)

select
    * exclude (price, mean_7, mean_14, mean_21, mean_50),
    mean_7 as sma_7,
    price / (mean_7 + 1e-8) as price_sma_7_ratio,
    mean_14 as sma_14,
    price / (mean_14 + 1e-8) as price_sma_14_ratio,
    mean_21 as sma_21,
    price / (mean_21 + 1e-8) as price_sma_21_ratio,
    mean_50 as sma_50,
    price / (mean_50 + 1e-8) as price_sma_50_ratio
from averaged;
