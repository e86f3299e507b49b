-- insert_decisions: add rows to decisions, leaving out those whose key is there already.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       decisions
-- parameters  one list per column, named as the column
--
-- key   product, open_time
insert into decisions
with fresh as (
    select
        unnest($product::varchar[]) as product,
        unnest($open_time::timestamptz[]) as open_time,
        unnest($session_id::varchar[]) as session_id,
        unnest($decided_at::timestamptz[]) as decided_at,
        unnest($mode::varchar[]) as mode,
        unnest($close::decimal(18, 8)[]) as close,
        unnest($probability::double[]) as probability,
        unnest($p_lstm::double[]) as p_lstm,
        unnest($p_transformer::double[]) as p_transformer,
        unnest($direction::varchar[]) as direction,
        unnest($confidence::double[]) as confidence,
        unnest($tier::varchar[]) as tier,
        unnest($is_emitted::boolean[]) as is_emitted,
        unnest($reason::varchar[]) as reason,
        unnest($latency_ms::double[]) as latency_ms,
        unnest($p_boosting::double[]) as p_boosting
)

select
    fresh.product,
    fresh.open_time,
    fresh.session_id,
    fresh.decided_at,
    fresh.mode,
    fresh.close,
    fresh.probability,
    fresh.p_lstm,
    fresh.p_transformer,
    fresh.direction,
    fresh.confidence,
    fresh.tier,
    fresh.is_emitted,
    fresh.reason,
    fresh.latency_ms,
    fresh.p_boosting
from fresh
where not exists (
    select 1
    from decisions as kept
    where kept.product = fresh.product and kept.open_time = fresh.open_time
);
