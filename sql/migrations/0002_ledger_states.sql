-- 0002_ledger_states: quarantined minutes get windows of their own in the ledger, and listings the span that was searched.
--
-- database  market
-- reads     ledger, candle_quarantine, candles_1m, listings
-- result    the tables of version 2
--
-- Version 1 counted a minute of which only nonsense was told as answered, and so as proved empty. Its windows are cut
-- around such minutes: at every border of a window or a run of such minutes a new piece begins.
alter table listings add column searched_from timestamptz;
alter table listings add column searched_until timestamptz;

create temp table quarantined_minute as
select
    quarantine.product,
    epoch_us(quarantine.open_time) // 60000000 as minute,
    min(quarantine.reason) as reason
from candle_quarantine as quarantine
inner join ledger
    on
        quarantine.product = ledger.product
        and quarantine.open_time >= ledger.start_time
        and quarantine.open_time < ledger.end_time
        and ledger.state = 'answered'
left join candles_1m as candle
    on
        quarantine.product = candle.product
        and epoch_us(quarantine.open_time) // 60000000 = epoch_us(candle.open_time) // 60000000
where
    candle.product is null
    -- rows that no answered window asked for say nothing about their minute
    and quarantine.reason not in ('outside_window', 'still_open')
group by
    quarantine.product,
    epoch_us(quarantine.open_time) // 60000000;

create temp table quarantined_run as
with numbered as (
    select
        *,
        minute - row_number() over (partition by product, reason order by minute) as run_number
    from quarantined_minute
)

select
    product,
    reason,
    make_timestamptz(min(minute) * 60000000) as start_time,
    make_timestamptz((max(minute) + 1) * 60000000) as end_time
from numbered
group by
    product,
    reason,
    run_number;

create temp table piece as
with border as (
    select
        product,
        start_time as moment
    from ledger
    union
    select
        product,
        start_time as moment
    from quarantined_run
    union
    select
        product,
        end_time as moment
    from quarantined_run
)

select
    ledger.* replace (
        border.moment as start_time,
        -- a window starts no later than the next piece of its own product
        least(
            ledger.end_time,
            coalesce(
                lead(border.moment) over (partition by border.product order by border.moment),
                ledger.end_time
            )
        ) as end_time,
        case when quarantined_run.product is null then ledger.state else 'quarantined' end as state,
        coalesce(quarantined_run.reason, ledger.reason) as reason
    )
from border
asof inner join ledger
    on border.product = ledger.product and border.moment >= ledger.start_time
left join quarantined_run on border.product = quarantined_run.product and border.moment = quarantined_run.start_time
where border.moment < ledger.end_time;

delete from ledger;

insert into ledger by name
select * from piece
order by
    product,
    start_time;

drop table piece;

drop table quarantined_run;

drop table quarantined_minute;
