-- registry_events_edited: an event of the model registry was changed, removed, put in or moved after it was stored.
--
-- reads    registry_events, registry_chain
-- result   the bad rows; none is the only good answer
with hashed as (
    select
        *,
        sha256(epoch_us(happened_at)::varchar)
        || sha256(kind)
        || sha256(slot)
        || sha256(model_id)
        || sha256(who)
        || sha256(why) as fields,
        -- an event of an older version has a random id, which is hashed with the rest; any other's id is its link
        case when regexp_full_match(event_id, '[0-9a-f]{64}') then '' else sha256(event_id) end as old_id,
        count(*) over (partition by event_id) as copies
    from registry_events
),

chained as (
    select
        *,
        coalesce(lag(link) over (order by position), '') as previous,
        row_number() over (order by position) as place
    from registry_chain
)

select
    chained.position,
    coalesce(chained.event_id, hashed.event_id) as event_id,
    hashed.kind,
    hashed.slot,
    hashed.model_id,
    case
        when hashed.event_id is null then 'removed'
        when chained.event_id is null then 'put in'
        when hashed.copies > 1 then 'stored twice'
        when chained.position <> chained.place then 'a link is missing before it'
        else 'changed'
    end as what
from chained
full join hashed on chained.event_id = hashed.event_id
where
    hashed.event_id is null
    -- events of a database that older code wrote are linked by the next writer
    or (chained.event_id is null and (select count(*) from registry_chain) > 0)
    or hashed.copies > 1
    or chained.position <> chained.place
    or chained.link <> sha256(chained.previous || hashed.old_id || hashed.fields)
    or (hashed.old_id = '' and chained.event_id <> chained.link);
