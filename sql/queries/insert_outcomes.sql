-- insert_outcomes: add rows to outcomes, leaving out those whose key is there already.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       outcomes
-- parameters  one list per column, named as the column
--
-- key   signal_id
insert into outcomes
with fresh as (
    select
        unnest($signal_id::varchar[]) as signal_id,
        unnest($closed_at::timestamptz[]) as closed_at,
        unnest($exit_price::decimal(18, 8)[]) as exit_price,
        unnest($exit_reason::varchar[]) as exit_reason,
        unnest($gross_bps::double[]) as gross_bps,
        unnest($net_bps::double[]) as net_bps,
        unnest($pnl_usd::double[]) as pnl_usd,
        unnest($is_win::boolean[]) as is_win
)

select
    fresh.signal_id,
    fresh.closed_at,
    fresh.exit_price,
    fresh.exit_reason,
    fresh.gross_bps,
    fresh.net_bps,
    fresh.pnl_usd,
    fresh.is_win
from fresh
where not exists (
    select 1
    from outcomes as kept
    where kept.signal_id = fresh.signal_id
);
