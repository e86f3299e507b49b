-- wanted_grow: widen what is wanted of one product by a span.
--
-- reads        wanted_spans
-- parameters   product, since, until, wanted_at
-- result       one row of wanted_spans changed or added
merge into wanted_spans
using (
    select
        $product as product,
        cast($since as timestamptz) as start_time,
        cast($until as timestamptz) as end_time,
        cast($wanted_at as timestamptz) as wanted_at
) as news
    on wanted_spans.product = news.product
when matched then
    update
        set
            start_time = least(wanted_spans.start_time, news.start_time),
            end_time = greatest(wanted_spans.end_time, news.end_time),
            wanted_at = news.wanted_at
when not matched then
    insert (product, start_time, end_time, wanted_at)
    values (news.product, news.start_time, news.end_time, news.wanted_at);
