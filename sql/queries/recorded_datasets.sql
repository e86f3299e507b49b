-- recorded_datasets: what every exported data set was made of.
--
-- reads        datasets
-- result       the columns of datasets, the one exported last first
select *
from datasets
order by
    created_at desc,
    digest asc;
