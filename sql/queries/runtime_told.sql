-- runtime_told: until when people were told of signals, for the digest and the alarm of a day without any.
--
-- database    signals
-- grain       one row
-- reads       signals, outbox, sessions
-- parameters  nothing
--
-- quiet_since      the latest of the last signal, the last alarm of a day without any and the first start; null before the first start
-- digested_until   when the last digest was owed, null before the first
select
    greatest(
        (select max(made_at) from signals),
        (
            select max(created_at)
            from outbox
            where kind = 'no_signals'
        ),
        (select min(started_at) from sessions)
    ) as quiet_since,
    (
        select max(created_at)
        from outbox
        where kind = 'digest'
    ) as digested_until;
