"""Faults on demand."""

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import ConfigError
from market.exchange.faults import KINDS, Faults

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
CANDLES = "/market/products/BTC-USD/candles"


@pytest.fixture
def spoiled(make_exchange, ask, window):
    """Return a function that plans one fault and gives the next two answers."""

    def two(kind, **plan):
        exchange = make_exchange()
        query = window(PRESENT - timedelta(minutes=20), PRESENT - timedelta(minutes=1))
        entry = {"kind": kind, "count": 1, **plan}
        planned = ask(exchange, "/_control/faults", method="POST", json={"faults": [entry]})
        assert planned.json() == {"planned": [kind]}
        return ask(exchange, CANDLES, query), ask(exchange, CANDLES, query)

    return two


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("429", 429, "<html>"),
        ("500", 500, "INTERNAL"),
        ("502", 502, "<html>"),
        ("401", 401, "Unauthorized\n"),
        ("html", 200, "<html>"),
    ],
)
def test_answer_fault_happens_once(spoiled, kind, status, text):
    first, second = spoiled(kind)
    assert first.status_code == status and text in first.text
    assert second.status_code == 200 and len(second.json()["candles"]) == 20


@pytest.mark.parametrize(("body", "text"), [("html", "<html>"), ("json", "rate_limit_exceeded"), ("empty", "")])
def test_429_has_the_body_and_wait_asked_for(spoiled, body, text):
    first, _ = spoiled("429", body=body, retry_after=3)
    assert text in first.text and first.headers["retry-after"] == "3"


def test_truncated_answer_is_half_of_it(spoiled):
    first, second = spoiled("truncated")
    assert second.text.startswith(first.text) and len(first.text) == len(second.text) // 2


def test_slow_answer_is_whole(spoiled):
    first, second = spoiled("slow", seconds=0.01)
    assert first.text == second.text


@pytest.mark.parametrize("kind", ["duplicates", "disorder", "outside", "revised", "late_hole"])
def test_data_fault_changes_one_answer(spoiled, kind):
    first, second = (answer.json()["candles"] for answer in spoiled(kind))
    assert first != second and len(second) == 20
    starts = [int(row["start"]) for row in first]
    if kind == "duplicates":
        assert len(first) == 40 and len(set(starts)) == 20
    elif kind == "disorder":
        assert starts != sorted(starts, reverse=True) and sorted(starts) == sorted(int(row["start"]) for row in second)
    elif kind == "outside":
        assert len(first) == 22
    elif kind == "revised":
        assert sum(item != two for item, two in zip(first, second, strict=True)) == 1
    else:
        assert len(first) == 19


@pytest.mark.parametrize("kind", ["revised", "late_hole"])
def test_untrue_candle_is_named_to_whoever_compares(make_exchange, ask, window, kind):
    exchange = make_exchange()
    query = window(PRESENT - timedelta(minutes=20), PRESENT - timedelta(minutes=1))
    exchange.faults.plan([{"kind": kind, "count": 1}, {"kind": "disorder", "count": 1}])
    first, _, true = (ask(exchange, CANDLES, query).json()["candles"] for _ in range(3))
    (untrue,) = ask(exchange, "/_control/stats").json()["untrue"]
    stated = {row["start"]: row for row in first}
    wrong = [row["start"] for row in true if stated.get(row["start"]) != row]
    assert untrue == [kind, "BTC-USD", int(wrong[0]) // 60] and len(wrong) == 1


def test_fault_by_probability_is_seeded():
    def picks():
        faults = Faults(seed=1)
        faults.plan([{"kind": "500", "probability": 0.3}])
        return [faults.pick("/candles") is not None for _ in range(200)]

    assert picks() == picks()
    assert 30 < sum(picks()) < 90


def test_fault_meets_only_its_path():
    faults = Faults()
    faults.plan([{"kind": "500", "count": 1, "path": "/time"}])
    assert faults.pick("/candles") is None and faults.pick("/time") is not None and faults.pick("/time") is None


def test_faults_are_cleared(make_exchange, ask):
    exchange = make_exchange()
    ask(exchange, "/_control/faults", method="POST", json={"faults": [{"kind": "500", "count": 9}]})
    assert ask(exchange, "/_control/faults", method="POST", json={"clear": True}).json() == {"planned": []}


@pytest.mark.parametrize(
    "entries",
    [[{"kind": "flood", "count": 1}], [{"kind": "500"}], [{"kind": "500", "count": 1, "probability": 1}], "500"],
)
def test_wrong_plan_is_refused_and_names_what_can_be(make_exchange, ask, entries):
    answer = ask(make_exchange(), "/_control/faults", method="POST", json={"faults": entries})
    assert answer.status_code == 400 and "kind" in answer.json()["error"]


def test_every_kind_can_be_planned():
    assert Faults().plan([{"kind": kind, "count": 1} for kind in KINDS]) == list(KINDS)
    with pytest.raises(ConfigError):
        Faults().plan([{}])
