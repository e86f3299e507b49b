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
with averaged as (
    select
        *,
        case when minute_of_segment >= 6 then avg(close) over last_7 end as mean_7,
        case when minute_of_segment >= 13 then avg(close) over last_14 end as mean_14,
        case when minute_of_segment >= 20 then avg(close) over last_21 end as mean_21,
        case when minute_of_segment >= 49 then avg(close) over last_50 end as mean_50
    from features_volume
    window
        last_7 as (partition by product, segment_start order by minute rows between 6 preceding and current row),
        last_14 as (partition by product, segment_start order by minute rows between 13 preceding and current row),
        last_21 as (partition by product, segment_start order by minute rows between 20 preceding and current row),
        last_50 as (partition by product, segment_start order by minute rows between 49 preceding and current row)
)

select
    * exclude (mean_7, mean_14, mean_21, mean_50),
    mean_7 as sma_7,
    cast(close as double) / (mean_7 + 1e-8) as price_sma_7_ratio,
    mean_14 as sma_14,
    cast(close as double) / (mean_14 + 1e-8) as price_sma_14_ratio,
    mean_21 as sma_21,
    cast(close as double) / (mean_21 + 1e-8) as price_sma_21_ratio,
    mean_50 as sma_50,
    cast(close as double) / (mean_50 + 1e-8) as price_sma_50_ratio
from averaged;
