-- answered_sources: who answered for each of some products, failures and files aside.
--
-- reads        ledger
-- parameters   products
-- result       product, source; one row each
select distinct
    product,
    source
from ledger
where
    list_contains($products, product)
    and state <> 'failed'
    and not starts_with(source, 'import:')
order by
    product,
    source;
