-- docs_flags: what the quality views flag and what was kept out or replaced, by product.
--
-- reads        dq_spikes, dq_early_saves, candle_quarantine, candle_revisions, gaps
-- result       product, flag, found (how many), latest (open time of the newest; null when there is none)
select
    product,
    'spike' as flag,
    count(*) as found,
    max(open_time) as latest
from dq_spikes
group by product
union all
select
    product,
    'looks saved early' as flag,
    count(*) as found,
    max(open_time) as latest
from dq_early_saves
group by product
union all
select
    product,
    'row in quarantine' as flag,
    count(*) as found,
    max(open_time) as latest
from candle_quarantine
group by product
union all
select
    product,
    'revised candle' as flag,
    count(*) as found,
    max(open_time) as latest
from candle_revisions
group by product
union all
select
    product,
    'gap of over an hour' as flag,
    count(*) as found,
    max(gap_start) as latest
from gaps
where is_long
group by product
order by
    product,
    flag;
