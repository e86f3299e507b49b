-- imports: every file of candles that was imported, and what came of it.
--
-- database  market
-- grain     one row per import that came to its end
-- reads     nothing
-- known     at finished_at
--
-- product        exchange product id
-- source         what its candles carry as their source, import:<file name>
-- sha256         hash of the file, so that it can be told again
-- columns        order of the columns as they were understood
-- row_count      rows in the file
-- stored         minutes that had no candle before
-- revised        candles that became another version; both are kept
-- quarantined    rows that were not believed; candle_quarantine has the reasons
-- started_at     when it began
-- finished_at    when it was done
create table if not exists imports (
    product varchar not null,
    source varchar not null,
    sha256 varchar not null,
    columns varchar not null,
    row_count bigint not null,
    stored bigint not null,
    revised bigint not null,
    quarantined bigint not null,
    started_at timestamptz not null,
    finished_at timestamptz not null
);
