-- early_save_windows: suspected early saves that the exchange has not confirmed since their minute was over.
--
-- reads        dq_early_saves, ledger
-- parameters   product, since, until
-- result       open_time, sorted; worth asking the exchange for, once: its own answer settles a suspicion
with answered as (
    select
        product,
        start_time,
        end_time,
        source,
        asked_at
    from ledger
    where state = 'answered'
)

select suspected.open_time
from dq_early_saves as suspected
asof left join answered
    on suspected.product = answered.product and suspected.open_time >= answered.start_time
where
    suspected.product = $product
    and suspected.open_time >= $since
    and suspected.open_time < $until
    and (
        answered.end_time is null
        or answered.end_time <= suspected.open_time
        or starts_with(answered.source, 'import:')
        -- an answer of the first seconds may itself be too early
        or epoch_us(answered.asked_at) < epoch_us(suspected.open_time) + 120000000
    )
order by suspected.open_time;
