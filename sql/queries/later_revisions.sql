-- later_revisions: candles of a product and span that became another version after a moment.
--
-- reads        candles_1m, candle_revisions
-- parameters   product, since, until, cut
-- result       open_time, sorted
select distinct candle.open_time
from candles_1m as candle
inner join candle_revisions as revision
    on candle.product = revision.product and candle.open_time = revision.open_time
where
    candle.product = $product
    and candle.open_time >= $since
    and candle.open_time < $until
    and candle.known_at > $cut
    and revision.known_at <= $cut
order by candle.open_time;
