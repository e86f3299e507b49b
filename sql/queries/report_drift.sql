-- report_drift: the model inputs that moved furthest from training in a span.
--
-- database    signals
-- grain       one row per (product, feature)
-- reads       feature_drift
-- parameters  $since, $until
--
-- product   exchange product id
-- feature   model input
-- psi       largest population stability index of the days touched
select
    product,
    feature,
    max(psi) as psi
from feature_drift
where day >= ($since at time zone 'UTC')::date and day < ($until at time zone 'UTC')::date + 1
group by product, feature
order by psi desc, product asc, feature asc;
