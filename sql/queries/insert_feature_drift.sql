-- insert_feature_drift: add rows to feature_drift, leaving out those whose key is there already.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       feature_drift
-- parameters  one list per column, named as the column
--
-- key   day, product, feature
insert into feature_drift
with fresh as (
    select
        unnest($day::date[]) as day,
        unnest($product::varchar[]) as product,
        unnest($feature::varchar[]) as feature,
        unnest($psi::double[]) as psi
)

select
    fresh.day,
    fresh.product,
    fresh.feature,
    fresh.psi
from fresh
where not exists (
    select 1
    from feature_drift as kept
    where kept.day = fresh.day and kept.product = fresh.product and kept.feature = fresh.feature
);
