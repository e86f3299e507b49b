-- model_metrics_unlinked: the hash of every stored figure that has no link yet.
--
-- reads       model_metrics_hashed, model_metrics_chain
-- parameters  nothing
-- grain       one row per distinct figure
--
-- row_sha256  sha256 over the columns of the row
select row_sha256
from model_metrics_hashed
where row_sha256 not in (select model_metrics_chain.row_sha256 from model_metrics_chain)
group by
    model_id,
    product,
    slice,
    metric,
    row_sha256
order by
    model_id,
    product,
    slice,
    metric,
    row_sha256;
