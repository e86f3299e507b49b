-- empty_windows: runs of minutes that the exchange said it has nothing for, asked for fewer than some number of times.
--
-- reads        gaps, ledger
-- parameters   product, since, until, max_tries
-- result       gap_start, gap_end; oldest first
select
    greatest(gaps.gap_start, ledger.start_time, $since) as gap_start,
    least(gaps.gap_end, ledger.end_time, $until) as gap_end
from gaps
inner join ledger
    on
        gaps.product = ledger.product
        and gaps.gap_start < ledger.end_time
        and gaps.gap_end > ledger.start_time
where
    gaps.product = $product
    and ledger.state = 'answered'
    and ledger.tries < $max_tries
    and gaps.gap_start < $until
    and gaps.gap_end > $since
    and ledger.start_time < $until
    and ledger.end_time > $since
order by gap_start;
