-- revisions_out_of_order: a replaced candle version says that it was replaced at another time than the next one was learned.
--
-- reads    candle_revisions, candles_1m
-- result   the bad rows; none is the only good answer
with version as (
    select
        *,
        false as is_in_force
    from candle_revisions
    union all by name
    select
        candles_1m.*,
        true as is_in_force
    from candles_1m
    semi join candle_revisions
        on candles_1m.product = candle_revisions.product and candles_1m.open_time = candle_revisions.open_time
),

followed as (
    select
        *,
        lead(known_at) over (
            partition by product, open_time
            order by known_at, volume, close, high, low, open
        ) as next_known_at
    from version
)

select *
from followed
where
    (is_in_force and next_known_at is not null)
    or (not is_in_force and coalesce(next_known_at <> superseded_at, true));
