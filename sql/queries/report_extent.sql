-- report_extent: first and last minute ever decided on, and how many rows lie between.
--
-- database    signals
-- grain       one row
-- reads       decisions
-- parameters  nothing
--
-- first_open_time   UTC start of the first decided minute, null when nothing was decided
-- last_open_time    UTC start of the last one
-- products          product ids decided on, comma separated, in order of name
-- decisions         number of decision rows
select
    min(open_time) as first_open_time,
    max(open_time) as last_open_time,
    string_agg(distinct product, ',' order by product) as products,
    count(*) as decisions
from decisions;
