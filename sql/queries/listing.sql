-- listing: what is known of one product's listing.
--
-- reads        listings
-- parameters   product
-- result       the columns of listings
select *
from listings
where product = $product;
