-- features_session: where in the trading day and week a minute lies, by UTC hour.
--
-- grain     one row per (product, minute)
-- carries   features_regime
-- reads     features_regime
-- known     at open_time
-- causal    depends on the clock alone
-- warm-up   0 minutes
--
-- session            tokyo, london or new_york: UTC hour 0-7, 8-15, 16-23
-- session_tokyo      1 in UTC hours 0-7, else 0
-- session_london     1 in UTC hours 8-15, else 0
-- session_new_york   1 in UTC hours 16-23, else 0
-- day_of_week        0 on Monday .. 6 on Sunday, UTC
-- is_weekend         1 on Saturday and Sunday, else 0
create or replace view features_session as
with days as (
    select
        *,
        -- in doubles, where floor(x / n) is exact for these and takes a fifth of the time of whole numbers' // and %
        cast(minute as double) as minute_number,
        floor(cast(minute as double) / 1440) as day_number
    from features_regime
),

clocked as (
    select
        * exclude (minute_number, day_number),
        floor((minute_number - 1440 * day_number) / 480) as third_of_day,
        day_number + 3 - 7 * floor((day_number + 3) / 7) as weekday
    from days
)

select
    * exclude (third_of_day, weekday),
    case third_of_day when 0 then 'tokyo' when 1 then 'london' else 'new_york' end as session,
    cast(third_of_day = 0 as integer) as session_tokyo,
    cast(third_of_day = 1 as integer) as session_london,
    cast(third_of_day = 2 as integer) as session_new_york,
    cast(weekday as integer) as day_of_week,
    cast(weekday >= 5 as integer) as is_weekend
from clocked;
