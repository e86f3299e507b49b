-- flag_counts: how many minutes of a product and span are flagged; nothing is changed by a flag.
--
-- reads        dq_early_saves, dq_spikes
-- parameters   product, since, until
-- result       early_saves, spikes
select
    (
        select count(*)
        from dq_early_saves
        where product = $product and open_time >= $since and open_time < $until
    ) as early_saves,
    (
        select count(*)
        from dq_spikes
        where product = $product and open_time >= $since and open_time < $until
    ) as spikes;
