-- report_signals: every signal of a span beside its outcome, if it has one yet.
--
-- database    signals
-- grain       one row per signal
-- reads       signals, outcomes
-- parameters  $since, $until
--
-- signal_id               id
-- made_at                 when, by the runtime's clock
-- product                 exchange product id
-- open_time               UTC start of the minute decided on
-- direction               long or short
-- confidence              max(p, 1 - p)
-- tier                    high, medium or low
-- mode                    dryrun, shadow or live
-- entry_price             quote currency
-- lstm_model_id           model behind p_lstm
-- transformer_model_id    model behind p_transformer
-- boosting_model_id       model behind p_boosting
-- closed_at               when it ended, null while open
-- exit_reason             target, stop or timeout
-- gross_bps               move in its direction before costs, basis points
-- net_bps                 after costs, basis points
-- pnl_usd                 quote currency
-- is_win                  whether the direction was right, null while open
select
    made.signal_id,
    made.made_at,
    made.product,
    made.open_time,
    made.direction,
    made.confidence,
    made.tier,
    made.mode,
    made.entry_price::double as entry_price,
    made.lstm_model_id,
    made.transformer_model_id,
    made.boosting_model_id,
    ended.closed_at,
    ended.exit_reason,
    ended.gross_bps,
    ended.net_bps,
    ended.pnl_usd,
    ended.is_win
from signals as made
left join outcomes as ended on made.signal_id = ended.signal_id
where made.open_time >= $since and made.open_time < $until
order by made.open_time, made.product;
