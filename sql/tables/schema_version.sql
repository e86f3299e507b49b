-- schema_version: which version of the SQL files this database was last built by.
--
-- database  both
-- grain     one row per applied version, the newest is in force
-- reads     nothing
-- known     at applied_at
--
-- version      number of the schema, refused when newer than the code
-- sql_sha256   hash of every table, view and macro file applied
-- applied_at   when
create table if not exists schema_version (
    version integer not null,
    sql_sha256 varchar not null,
    applied_at timestamptz not null
);
