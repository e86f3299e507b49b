-- candle_revisions: every version of a candle that a later, different answer replaced.
--
-- database  market
-- grain     one row per (product, open_time, superseded_at)
-- reads     nothing
-- known     at known_at; true until superseded_at
--
-- product         exchange product id
-- open_time       UTC start of the candle's minute
-- open            first trade price as first told, quote currency
-- high            highest trade price as first told, quote currency
-- low             lowest trade price as first told, quote currency
-- close           last trade price as first told, quote currency
-- volume          traded amount as first told, base currency
-- source          who said so
-- known_at        when this version was learned
-- superseded_at   when a different version was learned
create table if not exists candle_revisions (
    product varchar not null,
    open_time timestamptz not null,
    open decimal(18, 8) not null,
    high decimal(18, 8) not null,
    low decimal(18, 8) not null,
    close decimal(18, 8) not null,
    volume decimal(28, 8) not null,
    source varchar not null,
    known_at timestamptz not null,
    superseded_at timestamptz not null
);
