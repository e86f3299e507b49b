-- insert_signals: add rows to signals, leaving out those whose key is there already.
--
-- database    signals
-- grain       one row per element of the lists given, all of one length
-- reads       signals
-- parameters  one list per column, named as the column
--
-- key   signal_id
insert into signals
with fresh as (
    select
        unnest($signal_id::varchar[]) as signal_id,
        unnest($session_id::varchar[]) as session_id,
        unnest($made_at::timestamptz[]) as made_at,
        unnest($product::varchar[]) as product,
        unnest($open_time::timestamptz[]) as open_time,
        unnest($direction::varchar[]) as direction,
        unnest($confidence::double[]) as confidence,
        unnest($tier::varchar[]) as tier,
        unnest($probability::double[]) as probability,
        unnest($p_lstm::double[]) as p_lstm,
        unnest($p_transformer::double[]) as p_transformer,
        unnest($entry_price::decimal(18, 8)[]) as entry_price,
        unnest($target_price::decimal(18, 8)[]) as target_price,
        unnest($stop_price::decimal(18, 8)[]) as stop_price,
        unnest($reward_risk_ratio::double[]) as reward_risk_ratio,
        unnest($size_usd::double[]) as size_usd,
        unnest($session::varchar[]) as session,
        unnest($mode::varchar[]) as mode,
        unnest($lstm_model_id::varchar[]) as lstm_model_id,
        unnest($transformer_model_id::varchar[]) as transformer_model_id,
        unnest($feature_set::varchar[]) as feature_set,
        unnest($latency_ms::double[]) as latency_ms,
        unnest($spread_bps::double[]) as spread_bps,
        unnest($slippage_bps::double[]) as slippage_bps,
        unnest($p_boosting::double[]) as p_boosting,
        unnest($boosting_model_id::varchar[]) as boosting_model_id
)

select
    fresh.signal_id,
    fresh.session_id,
    fresh.made_at,
    fresh.product,
    fresh.open_time,
    fresh.direction,
    fresh.confidence,
    fresh.tier,
    fresh.probability,
    fresh.p_lstm,
    fresh.p_transformer,
    fresh.entry_price,
    fresh.target_price,
    fresh.stop_price,
    fresh.reward_risk_ratio,
    fresh.size_usd,
    fresh.session,
    fresh.mode,
    fresh.lstm_model_id,
    fresh.transformer_model_id,
    fresh.feature_set,
    fresh.latency_ms,
    fresh.spread_bps,
    fresh.slippage_bps,
    fresh.p_boosting,
    fresh.boosting_model_id
from fresh
where not exists (
    select 1
    from signals as kept
    where kept.signal_id = fresh.signal_id
);
