-- execution_costs: spread and slippage assumed per product and session, dated.
--
-- database  market
-- grain     one row per (product, session, valid_from)
-- reads     nothing
-- known     at valid_from
--
-- product              exchange product id, or * for any other
-- session              tokyo, london, new_york, or * for any
-- valid_from           first moment the row holds, UTC
-- spread_bps           mean full spread, basis points of the mid price
-- spread_p50_bps       median full spread, basis points
-- spread_p90_bps       90th percentile of the full spread, basis points
-- slippage_bps         mean slippage per side, basis points
-- slippage_p50_bps     median slippage per side, basis points
-- slippage_p90_bps     90th percentile of slippage per side, basis points
-- source               default, setting or book
create table if not exists execution_costs (
    product varchar not null,
    session varchar not null,
    valid_from timestamptz not null,
    spread_bps double not null,
    spread_p50_bps double not null,
    spread_p90_bps double not null,
    slippage_bps double not null,
    slippage_p50_bps double not null,
    slippage_p90_bps double not null,
    source varchar not null
);
