-- ingest_compare: hold each incoming candle against the stored one.
--
-- reads        incoming, candles_1m
-- result       the temporary table `compared`: incoming rows with a verdict
--
-- new        the minute had no candle
-- same       told again as it is stored, at the same time or later
-- earlier    as it is stored, but told before
-- newer      different, told later
-- older      different, told before
-- Of two versions told at the same instant the one with more volume is the later: a minute only ever grows. The last
-- comparisons only make the order total, so that pages may arrive in any order.
create or replace temp table compared as
with stored as (
    -- the bounds let the scan skip all row groups of other times
    select *
    from candles_1m
    where
        open_time >= (select min(open_time) from incoming)
        and open_time <= (select max(open_time) from incoming)
)

select
    incoming.*,
    stored.known_at as stored_known_at,
    case
        when stored.product is null then 'new'
        when
            (incoming.open, incoming.high, incoming.low, incoming.close, incoming.volume)
            = (stored.open, stored.high, stored.low, stored.close, stored.volume)
            then case when incoming.known_at < stored.known_at then 'earlier' else 'same' end
        when
            (incoming.known_at, incoming.volume, incoming.close, incoming.high, incoming.low, incoming.open)
            > (stored.known_at, stored.volume, stored.close, stored.high, stored.low, stored.open)
            then 'newer'
        else 'older'
    end as verdict
from incoming
left join stored on incoming.product = stored.product and incoming.open_time = stored.open_time;
