-- ingest_stage: lay the arrays handed over as `incoming_arrays` into the temporary table `incoming`.
--
-- reads        incoming_arrays
-- result       one temporary table, one row per (product, open_time)
create or replace temp table incoming as
select
    product,
    make_timestamptz(open_us) as open_time,
    cast(open as decimal(18, 8)) as open,
    cast(high as decimal(18, 8)) as high,
    cast(low as decimal(18, 8)) as low,
    cast(close as decimal(18, 8)) as close,
    cast(volume as decimal(28, 8)) as volume,
    source,
    make_timestamptz(known_us) as known_at
from incoming_arrays;
