-- features_oscillator: rsi and macd as weighted sums over the last 288 minute moves, so that no value depends on where history starts.
--
-- grain     one row per (product, minute)
-- carries   candles_dense
-- reads     candles_dense
-- known     at open_time + 1 minute
-- causal    lags only, inside the segment
-- warm-up   288 minutes: 288 moves need 289 closes; null before
--
-- rsi           14 minutes, Wilder smoothing (alpha 1/14): 100 * gain / (gain + loss); 50 when nothing moved
-- macd          EMA12 - EMA26 of close (span form, no bias adjustment), quote currency
-- macd_signal   EMA9 of macd, quote currency
-- macd_diff     macd - macd_signal, quote currency
--
-- With d_k = close[t-k] - close[t-k-1] and S_r = sum over k of r^k * d_k, an EMA of factor r is close - r * S_r. So
--     macd        = r26 * S26 - r12 * S12                      r12 = 11/13, r26 = 25/27
--     macd_signal = EMA9 of that, its poles taken apart:       r9 = 4/5, a9 = 1/5
--                   a9 * (r26 * (r26 * S26 - r9 * S9) / (r26 - r9) - r12 * (r12 * S12 - r9 * S9) / (r12 - r9))
-- and with r = 13/14 gain + loss is the same sum of |d_k| (swing), gain - loss that of d_k (drift). Nothing here sees the price
-- level, so what is cut off after 288 terms is relative to the moves: r^288 is 5e-10 for rsi, 2e-10 for macd. On real minutes that
-- is at most 3e-8 of a column's standard deviation, below what float32 keeps of it (6e-8). After 256 terms it was 2e-7.
-- Each step doubles the terms, the last two treble them: y(2n)[t] = y(n)[t] + r^n * y(n)[t-n]. Always the same numbers in the same
-- order, therefore the same bits for a minute whether two years or the last five hours are scanned. Moves are whole ticks of
-- 1e-8, exact as doubles up to prices of 4e7. A segment's first move is null, and so is every sum that would reach back across it.
-- The literals are powers of the factors.
create or replace view features_oscillator as
with ticked as (
    select
        *,
        round(cast(close as double) * 1e8) as close_ticks
    from candles_dense
),

moved as (
    select
        * exclude (close_ticks),
        case when minute_of_segment > 0 then close_ticks - lag(close_ticks) over () end as move
    from ticked
),

summed_2 as (
    select
        * exclude (move),
        abs(move) + 9.28571428571428603e-1 * abs(lag(move) over ()) as swing,
        move + 9.28571428571428603e-1 * lag(move) over () as drift,
        move + 8.00000000000000044e-1 * lag(move) over () as sum_9,
        move + 8.46153846153846145e-1 * lag(move) over () as sum_12,
        move + 9.25925925925925930e-1 * lag(move) over () as sum_26
    from moved
),

summed_4 as (
    select
        * replace (
            swing + 8.62244897959183687e-1 * lag(swing, 2) over () as swing,
            drift + 8.62244897959183687e-1 * lag(drift, 2) over () as drift,
            sum_9 + 6.40000000000000124e-1 * lag(sum_9, 2) over () as sum_9,
            sum_12 + 7.15976331360946738e-1 * lag(sum_12, 2) over () as sum_12,
            sum_26 + 8.57338820301783322e-1 * lag(sum_26, 2) over () as sum_26
        )
    from summed_2
),

summed_8 as (
    select
        * replace (
            swing + 7.43466264056643178e-1 * lag(swing, 4) over () as swing,
            drift + 7.43466264056643178e-1 * lag(drift, 4) over () as drift,
            sum_9 + 4.09600000000000075e-1 * lag(sum_9, 4) over () as sum_9,
            sum_12 + 5.12622107069080180e-1 * lag(sum_12, 4) over () as sum_12,
            sum_26 + 7.35029852796453387e-1 * lag(sum_26, 4) over () as sum_26
        )
    from summed_4
),

summed_16 as (
    select
        * replace (
            swing + 5.52742085790342230e-1 * lag(swing, 8) over () as swing,
            drift + 5.52742085790342230e-1 * lag(drift, 8) over () as drift,
            sum_9 + 1.67772160000000087e-1 * lag(sum_9, 8) over () as sum_9,
            sum_12 + 2.62781424655943507e-1 * lag(sum_12, 8) over () as sum_12,
            sum_26 + 5.40268884501975966e-1 * lag(sum_26, 8) over () as sum_26
        )
    from summed_8
),

summed_32 as (
    select
        * replace (
            swing + 3.05523813403858091e-1 * lag(swing, 16) over () as swing,
            drift + 3.05523813403858091e-1 * lag(drift, 16) over () as drift,
            sum_9 + 2.81474976710656237e-2 * lag(sum_9, 16) over () as sum_9,
            sum_12 + 6.90540771442073181e-2 * lag(sum_12, 16) over () as sum_12,
            sum_26 + 2.91890467561009503e-1 * lag(sum_26, 16) over () as sum_26
        )
    from summed_16
),

summed_96 as (
    select
        * replace (
            swing + 9.33448005568354999e-2 * lag(swing, 32) over ()
            + 8.71325179099539590e-3 * lag(swing, 64) over () as swing,
            drift + 9.33448005568354999e-2 * lag(drift, 32) over ()
            + 8.71325179099539590e-3 * lag(drift, 64) over () as drift,
            sum_9 + 7.92281625142644830e-4 * lag(sum_9, 32) over ()
            + 6.27710173538670278e-7 * lag(sum_9, 64) over () as sum_9,
            sum_12 + 4.76846557023813573e-3 * lag(sum_12, 32) over ()
            + 2.27382638945465092e-5 * lag(sum_12, 64) over () as sum_12,
            sum_26 + 8.52000450529847297e-2 * lag(sum_26, 32) over ()
            + 7.25904767703062712e-3 * lag(sum_26, 64) over () as sum_26
        )
    from summed_32
),

summed_288 as (
    select
        * replace (
            swing + 8.13336750631954929e-4 * lag(swing, 96) over ()
            + 6.61516669928546790e-7 * lag(swing, 192) over () as swing,
            drift + 8.13336750631954929e-4 * lag(drift, 96) over ()
            + 6.61516669928546790e-7 * lag(drift, 192) over () as drift,
            sum_9 + 4.97323236409789284e-10 * lag(sum_9, 96) over ()
            + 2.47330401473107158e-19 * lag(sum_9, 192) over () as sum_9,
            sum_12 + 1.08426628508133936e-7 * lag(sum_12, 96) over ()
            + 1.17563337696408813e-14 * lag(sum_12, 192) over () as sum_12,
            sum_26 + 6.18471189124773562e-4 * lag(sum_26, 96) over ()
            + 3.82506611777411435e-7 * lag(sum_26, 192) over () as sum_26
        )
    from summed_96
),

finished as (
    select
        * exclude (swing, drift, sum_9, sum_12, sum_26),
        case when swing = 0 then 5e1 else 5e1 + 5e1 * drift / swing end as rsi,
        (9.25925925925925930e-1 * sum_26 - 8.46153846153846145e-1 * sum_12) / 1e8 as macd,
        (
            1.36165577342047972e0 * sum_26 - 3.10256410256410575e0 * sum_12
            + 1.75686274509804230e0 * sum_9
        ) / 1e8 as macd_signal
    from summed_288
)

select
    *,
    macd - macd_signal as macd_diff
from finished;
