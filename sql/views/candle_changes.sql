-- candle_changes: every candle that came back different, old and new value side by side.
--
-- grain     one row per (product, open_time, changed_at): one step from a version to the next
-- reads     candles_1m, candle_revisions
-- known     at changed_at
-- causal    not a feature
-- warm-up   0 minutes
--
-- product         exchange product id
-- open_time       UTC start of the candle's minute
-- told_at         when the old version was learned
-- changed_at      when the new version was learned
-- changed         the columns that differ, comma separated
-- old_source      who told the old version
-- new_source      who told the new version
-- old_open        first trade price before, quote currency
-- new_open        first trade price after, quote currency
-- old_high        highest trade price before, quote currency
-- new_high        highest trade price after, quote currency
-- old_low         lowest trade price before, quote currency
-- new_low         lowest trade price after, quote currency
-- old_close       last trade price before, quote currency
-- new_close       last trade price after, quote currency
-- old_volume      traded amount before, base currency
-- new_volume      traded amount after, base currency
-- close_bps       change of the close, basis points of the old one
-- is_in_force     whether the new version is the one in candles_1m
create or replace view candle_changes as
with version as (
    select
        candle_revisions.* exclude (superseded_at),
        false as is_in_force
    from candle_revisions
    union all by name
    -- only candles that changed: the rest of two years is not sorted here
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
        lead(known_at) over by_time as changed_at,
        lead(source) over by_time as new_source,
        lead(open) over by_time as new_open,
        lead(high) over by_time as new_high,
        lead(low) over by_time as new_low,
        lead(close) over by_time as new_close,
        lead(volume) over by_time as new_volume,
        lead(is_in_force) over by_time as is_next_in_force
    from version
    window by_time as (
        partition by product, open_time
        order by known_at, volume, close, high, low, open
    )
)

select
    product,
    open_time,
    known_at as told_at,
    changed_at,
    concat_ws(
        ', ',
        if(new_open <> open, 'open', null),
        if(new_high <> high, 'high', null),
        if(new_low <> low, 'low', null),
        if(new_close <> close, 'close', null),
        if(new_volume <> volume, 'volume', null)
    ) as changed,
    source as old_source,
    new_source,
    open as old_open,
    new_open,
    high as old_high,
    new_high,
    low as old_low,
    new_low,
    close as old_close,
    new_close,
    volume as old_volume,
    new_volume,
    1e4 * cast(new_close - close as double) / cast(close as double) as close_bps,
    is_next_in_force as is_in_force
from followed
where changed_at is not null;
