-- proof_rows: hold an export, row by row, against the store as it was known at the export's cut.
--
-- reads        exported, candles_1m
-- result       open_time, verdict: lost (the store has no such candle), changed (it has another), extra (the export lacks it)
with pair as (
    select
        coalesce(exported.open_time, stored.open_time) as open_time,
        case
            when stored.open_time is null then 'lost'
            when exported.open_time is null then 'extra'
            when
                (exported.open, exported.high, exported.low, exported.close, exported.volume, exported.source)
                <> (stored.open, stored.high, stored.low, stored.close, stored.volume, stored.source)
                or exported.known_at <> stored.known_at
                then 'changed'
        end as verdict
    from exported
    full join candles_1m as stored on exported.open_time = stored.open_time
)

select
    open_time,
    verdict
from pair
where verdict is not null
order by open_time;
