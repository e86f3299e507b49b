-- import_compare: hold each row of a file against what is known of its minute.
--
-- reads        incoming, candles_1m, candle_revisions, ledger
-- result       place (row of incoming, from 0), verdict, stored_known_at; sorted by place
--
-- known        a version equal to it is stored or was replaced before: a file never changes, so nothing is learned
-- contradicts  the exchange itself has answered for the minute, and differently
-- lesser       this file has told the minute already, with at least as much volume: an earlier state of the same minute
-- news         anything else
with bound as (
    select
        min(open_time) as first_open_time,
        max(open_time) as last_open_time
    from incoming
),

stored as (
    -- the bounds let the scan skip all row groups of other times
    select *
    from candles_1m
    where
        open_time >= (select first_open_time from bound)
        and open_time <= (select last_open_time from bound)
),

told as (
    select *
    from candle_revisions
    where
        open_time >= (select first_open_time from bound)
        and open_time <= (select last_open_time from bound)
),

answered as (
    select
        product,
        start_time,
        end_time
    from ledger
    where state = 'answered' and not starts_with(source, 'import:')
),

numbered as (
    -- in the order they were laid in; a rowid would be far from 0 until the transaction is committed
    select
        *,
        row_number() over () - 1 as place
    from incoming
),

placed as (
    select
        numbered.*,
        coalesce(answered.end_time > numbered.open_time, false) as is_answered
    from numbered
    asof left join answered
        on numbered.product = answered.product and numbered.open_time >= answered.start_time
)

select
    placed.place,
    case
        when
            (placed.open, placed.high, placed.low, placed.close, placed.volume)
            = (stored.open, stored.high, stored.low, stored.close, stored.volume)
            then 'known'
        when exists (
            select 1
            from told
            where
                told.product = placed.product
                and told.open_time = placed.open_time
                and (told.open, told.high, told.low, told.close, told.volume)
                = (placed.open, placed.high, placed.low, placed.close, placed.volume)
        ) then 'known'
        when placed.is_answered or not starts_with(coalesce(stored.source, placed.source), 'import:') then 'contradicts'
        when stored.source = placed.source and placed.volume <= stored.volume then 'lesser'
        else 'news'
    end as verdict,
    stored.known_at as stored_known_at
from placed
left join stored on placed.product = stored.product and placed.open_time = stored.open_time
order by placed.place;
