-- model_metrics_edited: a model's stored figure was changed, removed, put in or moved after it was stored.
--
-- reads    model_metrics_hashed, model_metrics_chain
-- result   the bad rows; none is the only good answer
with chained as (
    select
        *,
        coalesce(lag(link) over (order by position), '') as previous,
        row_number() over (order by position) as place
    from model_metrics_chain
)

select
    chained.position,
    hashed.model_id,
    hashed.product,
    hashed.slice,
    hashed.metric,
    hashed.value,
    case
        when hashed.row_sha256 is null then 'changed or removed'
        when chained.row_sha256 is null then 'changed or put in'
        else 'a link was changed'
    end as what
from chained
full join model_metrics_hashed as hashed on chained.row_sha256 = hashed.row_sha256
where
    hashed.row_sha256 is null
    -- rows of a database that older code wrote are linked by the next writer
    or (chained.row_sha256 is null and (select count(*) from model_metrics_chain) > 0)
    or chained.position <> chained.place
    or chained.link <> sha256(chained.previous || sha256(chained.row_sha256));
