-- listings: whether the exchange offers a product, and since when it has candles.
--
-- database  market
-- grain     one row per product
-- reads     nothing
-- known     at checked_at
--
-- product           exchange product id
-- state             offered or not_offered
-- first_open_time   first minute known to have a candle, UTC; null if none is known
-- checked_at        when this was asked
-- reason            the exchange's own words when it is not offered
-- searched_from     first minute of the span searched for a candle, UTC; null if none was
-- searched_until    the minute after its last, UTC
create table if not exists listings (
    product varchar not null,
    state varchar not null,
    first_open_time timestamptz,
    checked_at timestamptz not null,
    reason varchar not null,
    searched_from timestamptz,
    searched_until timestamptz
);
