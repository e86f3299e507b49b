-- report_confidence: the distribution of confidence, in steps of one hundredth.
--
-- database    signals
-- grain       one row per (product, confidence_from)
-- reads       decisions
-- parameters  $since, $until
--
-- product           exchange product id
-- confidence_from   lower edge of the step, 0.50 to 0.99
-- decisions         scored decisions in it
select
    product,
    least(0.99, floor(confidence * 100) / 100) as confidence_from,
    count(*) as decisions
from decisions
where open_time >= $since and open_time < $until and confidence is not null
group by product, confidence_from
order by product, confidence_from;
