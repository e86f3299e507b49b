-- report_coins: what one product's decisions of a span amount to.
--
-- database    signals
-- grain       one row per product
-- reads       decisions
-- parameters  $since, $until
--
-- product         exchange product id
-- decided         decision rows
-- scored          of them with a probability
-- emitted         of them that became a signal
-- confidence_p50  median confidence where there is one
-- confidence_p95  its 95 % quantile
-- confidence_max  its largest value
select
    product,
    count(*) as decided,
    count(probability) as scored,
    count(*) filter (where is_emitted) as emitted,
    quantile_cont(confidence, 0.5) as confidence_p50,
    quantile_cont(confidence, 0.95) as confidence_p95,
    max(confidence) as confidence_max
from decisions
where open_time >= $since and open_time < $until
group by product
order by product;
