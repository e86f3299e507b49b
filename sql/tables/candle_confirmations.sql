-- candle_confirmations: when a stored candle was told again without a change, for the last day of telling.
--
-- database  market
-- grain     one row per (product, open_time, told_at)
-- reads     nothing
-- known     at told_at
--
-- product     exchange product id
-- open_time   UTC start of the candle's minute
-- told_at     when the version then in force was told again
-- source      who said so
--
-- Answers may reach the store in another order than they were given. One that comes late and differs is put in its place
-- among the versions; only the confirmations say whether the version before it was told again after it.
create table if not exists candle_confirmations (
    product varchar not null,
    open_time timestamptz not null,
    told_at timestamptz not null,
    source varchar not null
);
