-- seed39: feature set seed39, version 1: the product, then its 39 columns in their order.
--
-- grain     one row per (product, minute) whose windows are all full
-- reads     seed39_rows
-- known     at open_time + 1 minute
-- causal    nothing here looks forward; the labels are in labels_15m
-- warm-up   288 minutes of a segment, those of rsi and macd; no row before, nothing is back-filled
--
-- product              exchange product id
-- open_time            UTC start of the minute
-- open                 first trade price, quote currency
-- high                 highest trade price, quote currency
-- low                  lowest trade price, quote currency
-- close                last trade price, quote currency
-- volume               traded amount, base currency
-- session              tokyo, london or new_york: UTC hour 0-7, 8-15, 16-23
-- session_tokyo        1 in UTC hours 0-7, else 0
-- session_london       1 in UTC hours 8-15, else 0
-- session_new_york     1 in UTC hours 16-23, else 0
-- day_of_week          0 on Monday .. 6 on Sunday, UTC
-- is_weekend           1 on Saturday and Sunday, else 0
-- spread               high - low of the candle, quote currency; not a bid-ask spread
-- spread_pct           100 * (high - low) / close
-- atr                  simple mean of the last 14 true ranges, quote currency; an exact decimal sum
-- spread_atr_ratio     spread / (atr + 1e-8)
-- volume_ma            mean volume of the last 20 minutes, base currency; an exact decimal sum
-- volume_ratio         volume / (volume_ma + 1e-8)
-- volume_trend         least-squares slope of the last 20 volumes on 0 .. 19, base currency per minute; from exact decimal sums
-- sma_7                mean close of the last 7 minutes, quote currency; an exact decimal sum
-- price_sma_7_ratio    close / (sma_7 + 1e-8)
-- sma_14               mean close of the last 14 minutes, quote currency
-- price_sma_14_ratio   close / (sma_14 + 1e-8)
-- sma_21               mean close of the last 21 minutes, quote currency
-- price_sma_21_ratio   close / (sma_21 + 1e-8)
-- sma_50               mean close of the last 50 minutes, quote currency
-- price_sma_50_ratio   close / (sma_50 + 1e-8)
-- rsi                  14 minutes, Wilder smoothing (alpha 1/14): 100 * gain / (gain + loss); 50 when nothing moved
-- macd                 EMA12 - EMA26 of close (span form, no bias adjustment), quote currency
-- macd_signal          EMA9 of macd, quote currency
-- macd_diff            macd - macd_signal, quote currency
-- bb_high              upper band, quote currency
-- bb_low               lower band, quote currency
-- bb_width             (bb_high - bb_low) / close
-- bb_position          (close - bb_low) / (bb_high - bb_low); 0.5 where the bands have no width
-- volatility_regime    low, medium or high: atr against the 33rd and 67th percentile of its last 20 values
-- volatility_low       1 when low, else 0
-- volatility_medium    1 when medium, else 0
-- volatility_high      1 when high, else 0
create or replace view seed39 as
select
    product,
    open_time,
    open,
    high,
    low,
    close,
    volume,
    session,
    session_tokyo,
    session_london,
    session_new_york,
    day_of_week,
    is_weekend,
    spread,
    spread_pct,
    atr,
    spread_atr_ratio,
    volume_ma,
    volume_ratio,
    volume_trend,
    sma_7,
    price_sma_7_ratio,
    sma_14,
    price_sma_14_ratio,
    sma_21,
    price_sma_21_ratio,
    sma_50,
    price_sma_50_ratio,
    rsi,
    macd,
    macd_signal,
    macd_diff,
    bb_high,
    bb_low,
    bb_width,
    bb_position,
    volatility_regime,
    volatility_low,
    volatility_medium,
    volatility_high
from seed39_rows;
