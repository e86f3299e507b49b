from __future__ import annotations

import html
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from runtime.alerts.messages import (
    digest_note,
    headroom_line,
    key_of,
    no_signals_note,
    note,
    risk_note,
    signal_note,
    start_note,
    stop_note,
)
from runtime.risk.guardrails import SEVERITY
from store.signal_rows import SignalRow

AT = datetime(2025, 1, 15, 12, 0, 5, tzinfo=UTC)


def signal(mode: str = "dryrun") -> SignalRow:
    return SignalRow(
        signal_id="abc123",
        session_id="s",
        made_at=AT,
        product="BTC-USD",
        open_time=AT.replace(minute=59, hour=11, second=0),
        direction="long",
        confidence=0.8124,
        tier="high",
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


def test_signal_note_says_all_a_trader_asks() -> None:
    text = signal_note(
        signal("live"),
        "k1",
        headroom=headroom_line(Decimal("1.8"), AT.replace(hour=23)),
        why_not_live="",
        models="lstm lstm-1",
    )
    assert text.title == "LIVE high long BTC-USD at 43,210.50"
    for part in (
        "target 44,074.71",
        "stop 42,778.40",
        "reward:risk 2.00",
        "confidence 0.812",
        "1.8 % left, resets 23:00 UTC",
    ):
        assert part in text.body, part
    assert key_of(text.body) == "k1"
    assert "not tradeable" not in text.body


def test_shadow_note_says_why_it_is_no_trade() -> None:
    text = signal_note(signal("shadow"), "k", headroom="", why_not_live="a model did not pass", models="")
    assert text.body.startswith("SHADOW: not tradeable, a model did not pass")
    assert text.severity == "warning"


@given(st.lists(st.text(max_size=3000), max_size=8), st.text(max_size=300))
def test_any_note_is_short_safe_and_keyed(lines: list[str], title: str) -> None:
    made = note("info", title, lines, "key:1")
    assert len(html.escape(made.body)) < 4096
    assert not set("<>") & set(made.body + made.title)
    assert key_of(made.body) == "key:1"


def test_every_risk_event_has_words() -> None:
    for kind in SEVERITY:
        assert key_of(risk_note(kind, "detail", AT, f"k:{kind}").body) == f"k:{kind}"


def test_other_notes_end_with_their_key() -> None:
    notes = [
        start_note("dryrun", "BTC-USD", "", "k"),
        stop_note("dryrun", "error", {"minutes": 3}, "k"),
        no_signals_note(24, {"below_threshold": 1440, "no_candle": 2}, "k"),
        digest_note(AT, [(AT, "medium", "BTC-USD", "long", 0.7)], "k"),
    ]
    assert [key_of(made.body) for made in notes] == ["k"] * 4
    assert "nothing will be emitted" in notes[0].body
    assert notes[2].body.index("below_threshold") < notes[2].body.index("no_candle")


def test_text_without_a_key_has_none() -> None:
    assert key_of("hello\nworld") == ""
