from __future__ import annotations

import html
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.alerts.announcer import RISK_TITLES, Announcer, key_of, message
from runtime.loaded_models import LoadedModel, ProductModels
from runtime.risk.guardrails import SEVERITY, Headroom, RiskEvent
from store.signal_rows import OutboxRow, SignalRow, TickRows

AT = datetime(2025, 1, 15, 12, 0, 5, tzinfo=UTC)
ROOM = Headroom(Decimal(100_000), Decimal("1759.99"), Decimal(6200), AT.replace(hour=23))


def signal(mode: str = "dryrun", tier: str = "high") -> SignalRow:
    return SignalRow(
        signal_id="abc123",
        session_id="s",
        made_at=AT,
        product="BTC-USD",
        open_time=AT.replace(minute=59, hour=11, second=0),
        direction="long",
        confidence=0.8124,
        tier=tier,
        probability=0.8124,
        p_lstm=0.8,
        p_transformer=0.82,
        entry_price=Decimal("43210.50"),
        target_price=Decimal("44074.71"),
        stop_price=Decimal("42778.395"),
        reward_risk_ratio=2.0,
        size_usd=90_000.0,
        session="london",
        mode=mode,
        lstm_model_id="lstm-1",
        transformer_model_id=None,
        feature_set="seed39@abc",
        latency_ms=12.0,
        spread_bps=12.0,
        slippage_bps=3.0,
    )


def announcer(mode: str = "live", **model: object) -> Announcer:
    loaded = LoadedModel("lstm", "lstm-1", 60, None, **model)  # type: ignore[arg-type]
    return Announcer("s1", mode, {"BTC-USD": ProductModels("BTC-USD", {"lstm": loaded})}, AT)


def alert(mode: str = "live", **model: object) -> OutboxRow:
    (row,) = announcer(mode, **model).signal(signal(mode), ROOM)
    return row


def test_signal_message_says_all_a_trader_asks() -> None:
    text = alert()
    assert text.title == "LIVE high long BTC-USD at 43,210.50"
    for part in (
        "target 44,074.71",
        "stop 42,778.40",
        "reward:risk 2.00",
        "confidence 0.812",
        "size 90,000 USD",
        "headroom today 1.7 % (1,759.99 USD) left, resets 23:00 UTC",
        "headroom in total 6.2 % (6,200.00 USD) left, never resets",
        "models lstm lstm-1",
    ):
        assert part in text.body, part
    assert key_of(text.body) == text.message_key == text.signal_id == "abc123"
    assert "not tradeable" not in text.body
    assert text.severity == "success"


@pytest.mark.parametrize(
    ("mode", "model", "why"),
    [
        ("live", {"profile": "calibrated"}, "LIVE: not tradeable, information, not tradeable after costs"),
        ("live", {"profile": ""}, "LIVE: not tradeable, its passport names no gate profile"),
        ("live", {"is_shadow": True}, "LIVE: not tradeable, a model behind it did not pass the gates"),
        ("shadow", {}, "SHADOW: not tradeable, the runtime only shadows"),
    ],
)
def test_signal_message_says_why_it_is_no_trade(mode: str, model: dict[str, object], why: str) -> None:
    text = alert(mode, **model)
    assert text.body.startswith(why)
    assert text.severity == "warning"


@pytest.mark.parametrize("profile", ["seed", "selective"])
def test_signal_of_a_model_that_passed_a_gate_on_its_edge_is_tradeable(profile: str) -> None:
    assert "not tradeable" not in alert(profile=profile).body


@given(st.lists(st.text(max_size=3000), max_size=8), st.text(max_size=300))
def test_any_message_is_short_safe_and_keyed(lines: list[str], title: str) -> None:
    made = message("test", "key:1", AT, "info", title, lines)
    assert len(html.escape(made.body)) < 4096
    assert not set("<>") & set(made.body + made.title)
    assert key_of(made.body) == "key:1"


def test_every_risk_event_has_a_title_and_is_kept_with_its_message() -> None:
    assert set(RISK_TITLES) == set(SEVERITY)
    for kind in SEVERITY:
        rows = TickRows()
        announcer().tell_risk(RiskEvent(AT, kind, "detail", "BTC-USD"), ROOM, rows)
        assert [(row.kind, row.severity) for row in rows.risk_events] == [(kind, SEVERITY[kind])]
        assert key_of(rows.outbox[0].body) == f"{kind}:BTC-USD:20250115T120005"


@pytest.mark.parametrize(
    ("prices", "shown"),
    [
        (("0.00001312", "0.00001339", "0.00001299"), ("0.00001312", "0.00001339", "0.00001299")),
        (("0.00000712", "0.00000698", "0.00000719"), ("0.00000712", "0.00000698", "0.00000719")),
        (("1.2345678", "1.25", "43210.129"), ("1.234568", "1.25", "43,210.13")),
    ],
)
def test_alert_shows_the_digits_that_tell_prices_of_cheap_products_apart(
    prices: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    entry, target, stop = map(Decimal, prices)
    (row,) = announcer().signal(replace(signal(), entry_price=entry, target_price=target, stop_price=stop), ROOM)
    assert [f"{name} {price}" in row.body for name, price in zip(("entry", "target", "stop"), shown, strict=True)] == [
        True
    ] * 3


def test_start_and_stop_end_with_their_keys() -> None:
    made = Announcer("s1", "dryrun", {"BTC-USD": ProductModels("BTC-USD")}, AT)
    start, stop = made.start(AT, ["a remark"]), made.stop(AT, "error", {"minutes": 3})
    assert (key_of(start.body), key_of(stop.body)) == ("start:s1", "stop:s1")
    assert "nothing will be emitted" in start.body
    assert "minutes: 3" in stop.body
    assert stop.severity == "failure"


def test_medium_signal_waits_for_the_digest_of_its_hour() -> None:
    made = announcer()
    assert list(made.signal(signal(tier="medium"), ROOM)) == []
    assert list(made.digests(AT.replace(minute=59))) == []
    (digest,) = made.digests(AT.replace(hour=13))
    assert digest.title == "1 medium or low signal, 2025-01-15 12:00 UTC"
    assert list(made.digests(AT.replace(hour=13))) == []


def test_quiet_day_is_told_with_the_most_frequent_reason_first() -> None:
    made = announcer()
    made.reasons.update({"no_candle": 2, "below_threshold": 1438})
    assert list(made.advance(AT + timedelta(hours=23))) == []
    (quiet,) = made.advance(AT + timedelta(hours=24))
    assert quiet.body.index("below_threshold") < quiet.body.index("no_candle")
    assert made.reasons == {}


def test_text_without_a_key_has_none() -> None:
    assert key_of("hello\nworld") == ""
