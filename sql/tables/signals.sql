-- signals: every emitted signal, with all that is needed to recompute it.
--
-- database  signals
-- grain     one row per signal
-- reads     nothing
-- known     at made_at
--
-- signal_id              sha256-based id of (product, open_time, mode, models)
-- session_id             runtime session that made it
-- made_at                when, by the runtime's clock
-- product                exchange product id
-- open_time              UTC start of the minute decided on
-- direction              long or short
-- confidence             max(p, 1 - p)
-- tier                   high, medium or low
-- probability            ensemble probability of a higher close in 15 minutes
-- p_lstm                 the LSTM's share of it
-- p_transformer          the transformer's share of it
-- entry_price            close of the minute plus costs against us, quote currency
-- target_price           take-profit, quote currency
-- stop_price             stop-loss, quote currency
-- reward_risk_ratio      distance to target over distance to stop
-- size_usd               position size, quote currency
-- session                tokyo, london or new_york
-- mode                   dryrun, shadow or live
-- lstm_model_id          model behind p_lstm
-- transformer_model_id   model behind p_transformer
-- feature_set            feature set id with hash
-- latency_ms             as in decisions
-- spread_bps             full spread assumed, basis points
-- slippage_bps           slippage per side assumed, basis points
-- p_boosting             the boosting member's share of the probability
-- boosting_model_id      model behind p_boosting
create table if not exists signals (
    signal_id varchar not null,
    session_id varchar not null,
    made_at timestamptz not null,
    product varchar not null,
    open_time timestamptz not null,
    direction varchar not null,
    confidence double not null,
    tier varchar not null,
    probability double not null,
    p_lstm double,
    p_transformer double,
    entry_price decimal(18, 8) not null,
    target_price decimal(18, 8) not null,
    stop_price decimal(18, 8) not null,
    reward_risk_ratio double not null,
    size_usd double not null,
    session varchar not null,
    mode varchar not null,
    lstm_model_id varchar,
    transformer_model_id varchar,
    feature_set varchar not null,
    latency_ms double not null,
    spread_bps double not null,
    slippage_bps double not null,
    p_boosting double,
    boosting_model_id varchar
);
