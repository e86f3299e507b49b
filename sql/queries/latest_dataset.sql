-- latest_dataset: the data set exported last.
--
-- reads        datasets
-- result       digest, path
select
    digest,
    path
from datasets
order by
    created_at desc,
    digest asc
limit 1;
