-- dataset_files: every data set that was exported and where its file lies.
--
-- reads        datasets
-- result       digest, path; oldest first
select distinct
    digest,
    path
from datasets
order by path;
