-- wanted_spans: what a backfill was ever told to have, so that what it never reached is seen to be missing.
--
-- database  market
-- grain     one row per product
-- reads     nothing
-- known     at wanted_at
--
-- product      exchange product id
-- start_time   first minute wanted, never before the listing, UTC
-- end_time     the minute after the last one wanted, UTC
-- wanted_at    when it was last asked for
create table if not exists wanted_spans (
    product varchar not null,
    start_time timestamptz not null,
    end_time timestamptz not null,
    wanted_at timestamptz not null
);
