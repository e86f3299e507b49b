-- execution_costs_at: the execution costs that hold for a product and session at a moment.
--
-- reads        execution_costs
-- parameters   product, session, at
-- result       one row of execution_costs: the product's own before those for any, the session's before those for any, the newest first
select *
from execution_costs
where
    product in ($product, '*')
    and session in ($session, '*')
    and valid_from <= $at
order by
    product = $product desc,
    session = $session desc,
    valid_from desc
limit 1;
