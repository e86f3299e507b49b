-- dq_early_saves: minutes that look as if they were saved while still open, so their last trades are missing; a suspicion, nothing is changed.
--
-- grain     one row per suspected minute
-- reads     candles_1m
-- known     30 candles later
-- causal    no: a minute is held against its neighbours on both sides
-- warm-up   0 minutes
--
-- product            exchange product id
-- open_time          UTC start of the minute
-- close              its close, quote currency
-- next_open          open of the minute after it, quote currency
-- miss_bps           distance of the two, basis points; normally near 0
-- typical_miss_bps   mean of it over the 30 candles before and the 30 after, basis points
-- volume_ratio       its volume over the geometric mean of the 3 candles before and the 3 after
-- range_ratio        its high - low over the mean of the 30 candles before and the 30 after
-- score              logarithm of the odds that it was saved too early, if one minute in twenty is; flagged from flag_score up
--
-- A minute cut off early has lost volume and range, and its close stands where the price was then, so it misses the next open.
-- Constants, fitted by logistic regression on the first half of BTC-USD (October 2023 to February 2024) with early saves planted
-- in one minute of twenty, rounded, and judged elsewhere (`python -m benchmarks.quality`; figures in docs/log.md):
--   miss_weight = 2.75, volume_weight = -0.9, range_weight = -1.1, base_score = -6.2
--   flag_score = 0.6: the lowest, in tenths, whose share of right flags there has its 95 % interval above 0.95
--   least_pairs = 45: of the 60 neighbours so many must be followed at once by the next minute; where a coin trades less often than
--   that, its closes miss the next opens anyway and the sign says nothing, so a thin coin gets no flag at all
--   floors: 0.1 basis points for a typical miss, 0.1 for a range, 1e-8 for a volume
create or replace view dq_early_saves as
with constant as (
    select
        2.75 as miss_weight,
        -0.9 as volume_weight,
        -1.1 as range_weight,
        -6.2 as base_score,
        0.6 as flag_score,
        45 as least_pairs
),

stepped as (
    select
        product,
        open_time,
        close,
        case
            when epoch_us(lead(open_time) over history) - epoch_us(open_time) = 60000000 then lead(open) over history
        end as next_open,
        ln(greatest(cast(volume as double), 1e-8)) as log_volume,
        1e4 * cast(high - low as double) / cast(close as double) as range_bps
    from candles_1m
    window history as (partition by product order by open_time)
),

missed as (
    select
        *,
        1e4 * abs(cast(next_open - close as double)) / cast(close as double) as miss_bps
    from stepped
),

surrounded as (
    select
        *,
        avg(miss_bps) over around as typical_miss_bps,
        count(miss_bps) over around as pairs,
        avg(range_bps) over around as typical_range_bps,
        avg(log_volume) over beside as typical_log_volume
    from missed
    window
        around as (
            partition by product order by open_time
            rows between 30 preceding and 30 following exclude current row
        ),
        beside as (
            partition by product order by open_time
            rows between 3 preceding and 3 following exclude current row
        )
),

compared as (
    select
        *,
        exp(log_volume - typical_log_volume) as volume_ratio,
        (range_bps + 0.1) / (typical_range_bps + 0.1) as range_ratio
    from surrounded
    where next_open is not null
),

scored as (
    select
        compared.*,
        constant.miss_weight * ln(1 + compared.miss_bps / greatest(compared.typical_miss_bps, 0.1))
        + constant.volume_weight * ln(compared.volume_ratio)
        + constant.range_weight * ln(compared.range_ratio)
        + constant.base_score as score
    from compared, constant
    where compared.pairs >= constant.least_pairs
)

select
    product,
    open_time,
    close,
    next_open,
    miss_bps,
    typical_miss_bps,
    volume_ratio,
    range_ratio,
    score
from scored
where score >= (select flag_score from constant);
