-- features_bands: Bollinger bands, the mean of twenty closes plus and minus two population standard deviations.
--
-- grain     one row per (product, minute)
-- carries   features_trend
-- reads     features_trend
-- known     at open_time + 1 minute
-- causal    every frame ends at the current row and stays in its segment
-- warm-up   19 minutes: 20 closes; null before
--
-- bb_high       upper band, quote currency
-- bb_low        lower band, quote currency
-- bb_width      (bb_high - bb_low) / close
-- bb_position   (close - bb_low) / (bb_high - bb_low); 0.5 where the bands have no width
create or replace view features_bands as
with ticked as (
    select
        *,
        -- prices have 8 decimals, so this is exact; prices from 1e9 up are quarantined, so 400 squares fit into 128 bits
        cast(cast(close as decimal(27, 8)) * 100000000 as hugeint) as close_ticks
    from features_trend
),

summed as (
    select
        *,
        avg(close) over last_20 as mean_close,
        sum(close_ticks) over last_20 as sum_ticks,
        sum(close_ticks * close_ticks) over last_20 as sum_squares
    from ticked
    window last_20 as (partition by product, segment_start order by minute rows between 19 preceding and current row)
),

banded as (
    select
        * exclude (close_ticks, mean_close, sum_ticks, sum_squares),
        case when minute_of_segment >= 19 then mean_close end as band_middle,
        -- two deviations; the variance is (n * sum(x^2) - sum(x)^2) / n^2 in whole ticks, so a flat market gives exactly 0
        2 * sqrt(cast(20 * sum_squares - sum_ticks * sum_ticks as double)) / 20 / 1e8 as band_half
    from summed
)

select
    * exclude (band_middle, band_half),
    band_middle + band_half as bb_high,
    band_middle - band_half as bb_low,
    case when band_middle is not null then 2 * band_half / cast(close as double) end as bb_width,
    case
        when band_half = 0 and band_middle is not null then 0.5
        else (cast(close as double) - (band_middle - band_half)) / (2 * band_half)
    end as bb_position
from banded;
