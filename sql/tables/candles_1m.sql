-- candles_1m: the newest known version of every stored one-minute candle.
--
-- database  market
-- grain     one row per (product, open_time)
-- reads     nothing
-- known     at known_at, never before open_time + 1 minute
--
-- product     exchange product id, such as BTC-USD
-- open_time   UTC start of the candle's minute
-- open        first trade price, quote currency
-- high        highest trade price, quote currency
-- low         lowest trade price, quote currency
-- close       last trade price, quote currency
-- volume      traded amount, base currency
-- source      who said so: coinbase, synthetic, import:<file>
-- known_at    when this version was learned
create table if not exists candles_1m (
    product varchar not null,
    open_time timestamptz not null,
    open decimal(18, 8) not null,
    high decimal(18, 8) not null,
    low decimal(18, 8) not null,
    close decimal(18, 8) not null,
    volume decimal(28, 8) not null,
    source varchar not null,
    known_at timestamptz not null
);
