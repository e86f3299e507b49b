-- features_oscillator: rsi and macd as weighted sums over the last 256 minute moves, so that no value depends on where history starts.
--
-- grain     one row per (product, minute)
-- carries   candles_dense
-- reads     candles_dense
-- known     at open_time + 1 minute
-- causal    lags only, inside the segment
-- warm-up   256 minutes: 256 moves need 257 closes; null before
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
-- and rsi is the same sum, r = 13/14, of the gains and of the losses. Nothing here sees the price level, so what is cut off
-- after 256 terms is relative to the moves: r^256 is 6e-9 for rsi, 3e-9 for macd, below the precision of float32.
-- The 256 terms are added as 8, then 4 groups of 8, then 8 groups of 32, by lags: always the same numbers in the same order,
-- therefore the same bits for a minute whether two years or the last five hours are scanned. (Radix 8-4-8 plans and runs fastest
-- among five tried.) The literals are powers of the factors.
create or replace view features_oscillator as
with lagged as (
    select
        *,
        lag(close, 1) over history as close_1,
        lag(close, 2) over history as close_2,
        lag(close, 3) over history as close_3,
        lag(close, 4) over history as close_4,
        lag(close, 5) over history as close_5,
        lag(close, 6) over history as close_6,
        lag(close, 7) over history as close_7,
        lag(close, 8) over history as close_8
    from candles_dense
    window history as (partition by product, segment_start order by minute)
),

moved as (
    select
        * exclude (close_1, close_2, close_3, close_4, close_5, close_6, close_7, close_8),
        cast(close - close_1 as double) as move_0,
        cast(close_1 - close_2 as double) as move_1,
        cast(close_2 - close_3 as double) as move_2,
        cast(close_3 - close_4 as double) as move_3,
        cast(close_4 - close_5 as double) as move_4,
        cast(close_5 - close_6 as double) as move_5,
        cast(close_6 - close_7 as double) as move_6,
        cast(close_7 - close_8 as double) as move_7
    from lagged
),

summed_8 as (
    select
        * exclude (move_0, move_1, move_2, move_3, move_4, move_5, move_6, move_7),
        greatest(move_0, 0) + 9.28571428571428603e-1 * greatest(move_1, 0)
        + 8.62244897959183687e-1 * greatest(move_2, 0) + 8.00655976676384884e-1 * greatest(move_3, 0)
        + 7.43466264056643178e-1 * greatest(move_4, 0) + 6.90361530909740062e-1 * greatest(move_5, 0)
        + 6.41049992987615891e-1 * greatest(move_6, 0) + 5.95260707774214692e-1 * greatest(move_7, 0) as gain_8,
        greatest(-move_0, 0) + 9.28571428571428603e-1 * greatest(-move_1, 0)
        + 8.62244897959183687e-1 * greatest(-move_2, 0) + 8.00655976676384884e-1 * greatest(-move_3, 0)
        + 7.43466264056643178e-1 * greatest(-move_4, 0) + 6.90361530909740062e-1 * greatest(-move_5, 0)
        + 6.41049992987615891e-1 * greatest(-move_6, 0) + 5.95260707774214692e-1 * greatest(-move_7, 0) as loss_8,
        move_0 + 8.00000000000000044e-1 * move_1 + 6.40000000000000124e-1 * move_2 + 5.12000000000000122e-1 * move_3
        + 4.09600000000000075e-1 * move_4 + 3.27680000000000082e-1 * move_5 + 2.62144000000000099e-1 * move_6
        + 2.09715200000000074e-1 * move_7 as sum_9_8,
        move_0 + 8.46153846153846145e-1 * move_1 + 7.15976331360946738e-1 * move_2 + 6.05826126536185727e-1 * move_3
        + 5.12622107069080180e-1 * move_4 + 4.33757167519990938e-1 * move_5 + 3.67025295593838452e-1 * move_6
        + 3.10559865502478716e-1 * move_7 as sum_12_8,
        move_0 + 9.25925925925925930e-1 * move_1 + 8.57338820301783322e-1 * move_2 + 7.93832241020169693e-1 * move_3
        + 7.35029852796453387e-1 * move_4 + 6.80583197033753140e-1 * move_5 + 6.30169626883104850e-1 * move_6
        + 5.83490395262134087e-1 * move_7 as sum_26_8
    from moved
),

lags_32 as (
    select
        *,
        lag(gain_8, 8) over history as gain_8_1,
        lag(gain_8, 16) over history as gain_8_2,
        lag(gain_8, 24) over history as gain_8_3,
        lag(loss_8, 8) over history as loss_8_1,
        lag(loss_8, 16) over history as loss_8_2,
        lag(loss_8, 24) over history as loss_8_3,
        lag(sum_9_8, 8) over history as sum_9_8_1,
        lag(sum_9_8, 16) over history as sum_9_8_2,
        lag(sum_9_8, 24) over history as sum_9_8_3,
        lag(sum_12_8, 8) over history as sum_12_8_1,
        lag(sum_12_8, 16) over history as sum_12_8_2,
        lag(sum_12_8, 24) over history as sum_12_8_3,
        lag(sum_26_8, 8) over history as sum_26_8_1,
        lag(sum_26_8, 16) over history as sum_26_8_2,
        lag(sum_26_8, 24) over history as sum_26_8_3
    from summed_8
    window history as (partition by product, segment_start order by minute)
),

summed_32 as (
    select
        * exclude (
            gain_8, loss_8, sum_9_8, sum_12_8, sum_26_8, gain_8_1, gain_8_2, gain_8_3, loss_8_1, loss_8_2,
            loss_8_3, sum_9_8_1, sum_9_8_2, sum_9_8_3, sum_12_8_1, sum_12_8_2, sum_12_8_3, sum_26_8_1, sum_26_8_2,
            sum_26_8_3
        ),
        gain_8 + 5.52742085790342230e-1 * gain_8_1 + 3.05523813403858091e-1 * gain_8_2
        + 1.68875869879467844e-1 * gain_8_3 as gain_32,
        loss_8 + 5.52742085790342230e-1 * loss_8_1 + 3.05523813403858091e-1 * loss_8_2
        + 1.68875869879467844e-1 * loss_8_3 as loss_32,
        sum_9_8 + 1.67772160000000087e-1 * sum_9_8_1 + 2.81474976710656237e-2 * sum_9_8_2
        + 4.72236648286965179e-3 * sum_9_8_3 as sum_9_32,
        sum_12_8 + 2.62781424655943507e-1 * sum_12_8_1 + 6.90540771442073181e-2 * sum_12_8_2
        + 1.81461287702562278e-2 * sum_12_8_3 as sum_12_32,
        sum_26_8 + 5.40268884501975966e-1 * sum_26_8_1 + 2.91890467561009503e-1 * sum_26_8_2
        + 1.57699337305946791e-1 * sum_26_8_3 as sum_26_32
    from lags_32
),

lags_256 as (
    select
        *,
        lag(gain_32, 32) over history as gain_32_1,
        lag(gain_32, 64) over history as gain_32_2,
        lag(gain_32, 96) over history as gain_32_3,
        lag(gain_32, 128) over history as gain_32_4,
        lag(gain_32, 160) over history as gain_32_5,
        lag(gain_32, 192) over history as gain_32_6,
        lag(gain_32, 224) over history as gain_32_7,
        lag(loss_32, 32) over history as loss_32_1,
        lag(loss_32, 64) over history as loss_32_2,
        lag(loss_32, 96) over history as loss_32_3,
        lag(loss_32, 128) over history as loss_32_4,
        lag(loss_32, 160) over history as loss_32_5,
        lag(loss_32, 192) over history as loss_32_6,
        lag(loss_32, 224) over history as loss_32_7,
        lag(sum_9_32, 32) over history as sum_9_32_1,
        lag(sum_9_32, 64) over history as sum_9_32_2,
        lag(sum_9_32, 96) over history as sum_9_32_3,
        lag(sum_9_32, 128) over history as sum_9_32_4,
        lag(sum_9_32, 160) over history as sum_9_32_5,
        lag(sum_9_32, 192) over history as sum_9_32_6,
        lag(sum_9_32, 224) over history as sum_9_32_7,
        lag(sum_12_32, 32) over history as sum_12_32_1,
        lag(sum_12_32, 64) over history as sum_12_32_2,
        lag(sum_12_32, 96) over history as sum_12_32_3,
        lag(sum_12_32, 128) over history as sum_12_32_4,
        lag(sum_12_32, 160) over history as sum_12_32_5,
        lag(sum_12_32, 192) over history as sum_12_32_6,
        lag(sum_12_32, 224) over history as sum_12_32_7,
        lag(sum_26_32, 32) over history as sum_26_32_1,
        lag(sum_26_32, 64) over history as sum_26_32_2,
        lag(sum_26_32, 96) over history as sum_26_32_3,
        lag(sum_26_32, 128) over history as sum_26_32_4,
        lag(sum_26_32, 160) over history as sum_26_32_5,
        lag(sum_26_32, 192) over history as sum_26_32_6,
        lag(sum_26_32, 224) over history as sum_26_32_7
    from summed_32
    window history as (partition by product, segment_start order by minute)
),

summed_256 as (
    select
        * exclude (
            gain_32, loss_32, sum_9_32, sum_12_32, sum_26_32, gain_32_1, gain_32_2, gain_32_3, gain_32_4,
            gain_32_5, gain_32_6, gain_32_7, loss_32_1, loss_32_2, loss_32_3, loss_32_4, loss_32_5, loss_32_6,
            loss_32_7, sum_9_32_1, sum_9_32_2, sum_9_32_3, sum_9_32_4, sum_9_32_5, sum_9_32_6, sum_9_32_7,
            sum_12_32_1, sum_12_32_2, sum_12_32_3, sum_12_32_4, sum_12_32_5, sum_12_32_6, sum_12_32_7, sum_26_32_1,
            sum_26_32_2, sum_26_32_3, sum_26_32_4, sum_26_32_5, sum_26_32_6, sum_26_32_7
        ),
        gain_32 + 9.33448005568354999e-2 * gain_32_1 + 8.71325179099539590e-3 * gain_32_2
        + 8.13336750631954929e-4 * gain_32_3 + 7.59207567732844783e-5 * gain_32_4
        + 7.08680789912625664e-6 * gain_32_5 + 6.61516669928546790e-7 * gain_32_6
        + 6.17491416195021773e-8 * gain_32_7 as gain_256,
        loss_32 + 9.33448005568354999e-2 * loss_32_1 + 8.71325179099539590e-3 * loss_32_2
        + 8.13336750631954929e-4 * loss_32_3 + 7.59207567732844783e-5 * loss_32_4
        + 7.08680789912625664e-6 * loss_32_5 + 6.61516669928546790e-7 * loss_32_6
        + 6.17491416195021773e-8 * loss_32_7 as loss_256,
        sum_9_32 + 7.92281625142644830e-4 * sum_9_32_1 + 6.27710173538670278e-7 * sum_9_32_2
        + 4.97323236409789284e-10 * sum_9_32_3 + 3.94020061963947590e-13 * sum_9_32_4
        + 3.12174855031601981e-16 * sum_9_32_5 + 2.47330401473107158e-19 * sum_9_32_6
        + 1.95955332426296123e-22 * sum_9_32_7 as sum_9_256,
        sum_12_32 + 4.76846557023813573e-3 * sum_12_32_1 + 2.27382638945465092e-5 * sum_12_32_2
        + 1.08426628508133936e-7 * sum_12_32_3 + 5.17028644938037332e-10 * sum_12_32_4
        + 2.46543329221390905e-12 * sum_12_32_5 + 1.17563337696408813e-14 * sum_12_32_6
        + 5.60596728127604622e-17 * sum_12_32_7 as sum_12_256,
        sum_26_32 + 8.52000450529847297e-2 * sum_26_32_1 + 7.25904767703062712e-3 * sum_26_32_2
        + 6.18471189124773562e-4 * sum_26_32_3 + 5.26937731774037457e-5 * sum_26_32_4
        + 4.48951184872655750e-6 * sum_26_32_5 + 3.82506611777411435e-7 * sum_26_32_6
        + 3.25895805564999923e-8 * sum_26_32_7 as sum_26_256
    from lags_256
),

finished as (
    select
        * exclude (gain_256, loss_256, sum_9_256, sum_12_256, sum_26_256),
        case
            when minute_of_segment < 256 then null
            when gain_256 + loss_256 = 0 then 5e1
            else 1e2 * gain_256 / (gain_256 + loss_256)
        end as rsi,
        case
            when minute_of_segment >= 256
                then 9.25925925925925930e-1 * sum_26_256 - 8.46153846153846145e-1 * sum_12_256
        end as macd,
        case
            when minute_of_segment >= 256
                then
                    1.36165577342047972e0 * sum_26_256
                    - 3.10256410256410575e0 * sum_12_256 + 1.75686274509804230e0 * sum_9_256
        end as macd_signal
    from summed_256
)

select
    *,
    macd - macd_signal as macd_diff
from finished;
