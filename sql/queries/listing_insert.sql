-- listing_insert: note what was learned of one product's listing.
--
-- reads        nothing
-- parameters   product, state, first_open_time, checked_at, reason, searched_from, searched_until
-- result       one row added to listings
insert into listings (product, state, first_open_time, checked_at, reason, searched_from, searched_until)
values ($product, $state, $first_open_time, $checked_at, $reason, $searched_from, $searched_until);
