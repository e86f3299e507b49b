-- runtime_recent_signals: signals made since a moment, for the rate limiter and the digest.
--
-- database    signals
-- grain       one row per signal
-- reads       signals
-- parameters  $since
--
-- made_at      when, by the runtime's clock
-- tier         high, medium or low
-- product      exchange product id
-- direction    long or short
-- confidence   max(p, 1 - p)
select
    made_at,
    tier,
    product,
    direction,
    confidence
from signals
where made_at >= $since
order by made_at, product;
