-- insert_equity: add rows to equity, leaving out those whose key is there already.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       equity
-- parameters  one list per column, named as the column
--
-- key   marked_at
insert into equity
with fresh as (
    select
        unnest($marked_at::timestamptz[]) as marked_at,
        unnest($session_id::varchar[]) as session_id,
        unnest($balance_usd::double[]) as balance_usd,
        unnest($equity_usd::double[]) as equity_usd,
        unnest($day_start_balance_usd::double[]) as day_start_balance_usd,
        unnest($open_positions::integer[]) as open_positions,
        unnest($daily_used_pct::double[]) as daily_used_pct,
        unnest($total_used_pct::double[]) as total_used_pct
)

select
    fresh.marked_at,
    fresh.session_id,
    fresh.balance_usd,
    fresh.equity_usd,
    fresh.day_start_balance_usd,
    fresh.open_positions,
    fresh.daily_used_pct,
    fresh.total_used_pct
from fresh
where not exists (
    select 1
    from equity as kept
    where kept.marked_at = fresh.marked_at
);
