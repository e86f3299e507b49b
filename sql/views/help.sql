-- help: what there is to ask: every table, view and macro with its sentence.
--
-- grain     one row per object
-- reads     nothing
-- known     at any time
-- causal    not a feature
-- warm-up   0 minutes
--
-- kind       table, view or macro
-- name       what to write after from; a macro takes its parameters in brackets
-- takes      a macro's parameters, comma separated; empty otherwise
-- sentence   what it holds
-- example    a query to start from
create or replace view help as
select
    'table' as kind,
    table_name as name,
    '' as takes,
    comment as sentence,
    'from ' || table_name || ' limit 5' as example
from duckdb_tables()
where not internal
union all
select
    'view' as kind,
    view_name as name,
    '' as takes,
    comment as sentence,
    'from ' || view_name || ' limit 5' as example
from duckdb_views()
where not internal
union all
select
    'macro' as kind,
    function_name as name,
    array_to_string(parameters, ', ') as takes,
    regexp_replace(comment, ', such as from .*$', '.') as sentence,
    regexp_extract(comment, 'such as (from .*)\.$', 1) as example
from duckdb_functions()
where function_type = 'table_macro' and not internal;
