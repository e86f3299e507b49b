-- datasets: every data set ever exported for training; the files are immutable.
--
-- database  market
-- grain     one row per data set
-- reads     nothing
-- known     at created_at
--
-- digest          sha256 of the Parquet file, its name
-- feature_set     ordered column list it was built with
-- feature_hash    sha256 of that feature set's SQL
-- products        product ids, comma separated
-- start_time      first minute of the span, UTC
-- end_time        the minute after its last, UTC
-- known_at_cut    only candle versions learned until then are in it
-- row_count       rows in the file
-- created_at      when it was exported
-- path            where the Parquet file lies, relative to DESK_HOME
create table if not exists datasets (
    digest varchar not null,
    feature_set varchar not null,
    feature_hash varchar not null,
    products varchar not null,
    start_time timestamptz not null,
    end_time timestamptz not null,
    known_at_cut timestamptz not null,
    row_count bigint not null,
    created_at timestamptz not null,
    path varchar not null
);
