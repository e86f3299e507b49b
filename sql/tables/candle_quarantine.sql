-- candle_quarantine: rows that failed a quality rule, kept with the reason, never dropped in silence.
--
-- database  market
-- grain     one row per rejected row of an answer
-- reads     nothing
-- known     at known_at
--
-- product     exchange product id
-- open_time   UTC start the row claimed; 1970-01-01 where it claimed none
-- open        price as told, quote currency
-- high        price as told, quote currency
-- low         price as told, quote currency
-- close       price as told, quote currency
-- volume      amount as told, base currency
-- source      who said so
-- known_at    when the row came in
-- reason      the rule it broke: not_finite, off_grid, outside_window, still_open, non_positive_price, negative_volume, out_of_range, ohlc_order, too_many_decimals; of files also last_of_file (its minute may not have been over), contradicts_exchange, no_time, torn_row (too few or too many cells)
create table if not exists candle_quarantine (
    product varchar not null,
    open_time timestamptz not null,
    open double,
    high double,
    low double,
    close double,
    volume double,
    source varchar not null,
    known_at timestamptz not null,
    reason varchar not null
);
