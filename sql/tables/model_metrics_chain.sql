-- model_metrics_chain: in which order the rows of model_metrics came, each with a hash over itself and all before it.
--
-- database  market
-- grain     one row per row of model_metrics, append-only
-- reads     nothing
-- known     when its row was stored
--
-- position    1 for the oldest row
-- row_sha256  sha256 over the columns of the row of model_metrics
-- link        sha256 over the link before and row_sha256; an edit of any row breaks it, see model_metrics_edited
create table if not exists model_metrics_chain (
    position bigint not null,
    row_sha256 varchar not null,
    link varchar not null
);
