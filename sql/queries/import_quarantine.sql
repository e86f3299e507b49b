-- import_quarantine: keep rows of a file that were not believed; a row that is kept already, from the same source, is left alone.
--
-- reads        candle_quarantine
-- parameters   product, open_time, open, high, low, close, volume, source, known_at, reason: lists of one length
-- result       rows added to candle_quarantine
insert into candle_quarantine by name
with told as (
    select distinct
        unnest($product) as product,
        unnest($open_time) as open_time,
        unnest($open) as open,
        unnest($high) as high,
        unnest($low) as low,
        unnest($close) as close,
        unnest($volume) as volume,
        unnest($source) as source,
        unnest($known_at) as known_at,
        unnest($reason) as reason
)

select *
from told
where
    not exists (
        select 1
        from candle_quarantine as kept
        where
            (kept.product, kept.open_time, kept.source, kept.reason)
            = (told.product, told.open_time, told.source, told.reason)
            and kept.open is not distinct from told.open
            and kept.high is not distinct from told.high
            and kept.low is not distinct from told.low
            and kept.close is not distinct from told.close
            and kept.volume is not distinct from told.volume
    );
