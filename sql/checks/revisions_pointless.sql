-- revisions_pointless: a replaced candle version equals the one that replaced it, or was replaced before it was learned.
--
-- reads    candle_revisions, candles_1m
-- result   the bad rows; none is the only good answer
with version as (
    select *
    from candle_revisions
    union all by name
    select candles_1m.*
    from candles_1m
    semi join candle_revisions
        on candles_1m.product = candle_revisions.product and candles_1m.open_time = candle_revisions.open_time
),

followed as (
    select
        *,
        lead((open, high, low, close, volume)) over (
            partition by product, open_time
            order by known_at, volume, close, high, low, open
        ) as after
    from version
)

select *
from followed
where superseded_at < known_at or (open, high, low, close, volume) = after;
