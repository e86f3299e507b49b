-- ingest_confirm: note that stored candles were told again, later and alike; once.
--
-- reads        compared, candle_confirmations
-- result       rows added to candle_confirmations
insert into candle_confirmations by name
select
    product,
    open_time,
    known_at as told_at,
    source
from compared
where
    verdict = 'same'
    and known_at > stored_known_at
    and not exists (
        select 1
        from candle_confirmations as noted
        where
            noted.product = compared.product
            and noted.open_time = compared.open_time
            and noted.told_at = compared.known_at
    );
