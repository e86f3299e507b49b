from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psutil

from core.errors import StoreBusyError
from runtime.alerts.apprise_process import TargetSender, scrub
from runtime.alerts.local_receiver import Receiver
from runtime.alerts.notifier import AppriseChild, Notifier, SendResult, pause_seconds
from store.signal_rows import DeliveryRow, OutboxRow

if TYPE_CHECKING:
    from collections.abc import Sequence


AT = datetime(2025, 1, 15, 12, tzinfo=UTC)


def message(number: int, product: str = "BTC-USD") -> OutboxRow:
    return OutboxRow(f"k{number}", AT, number, "signal", product, "info", f"title {number}", f"text\nref k{number}")


class FakeTransport:
    """Takes messages unless told to fail; remembers the order of tries."""

    def __init__(self, fail: dict[str, int] | None = None, retry_after: float = 0.0) -> None:
        self.fail = fail or {}
        self.retry_after = retry_after
        self.tried: list[tuple[str, float, tuple[int, ...]]] = []
        self.taken: list[str] = []
        self.closed = False

    def send(self, message: OutboxRow, skip: Sequence[int]) -> SendResult:
        self.tried.append((message.message_key, time.monotonic(), tuple(skip)))
        if self.fail.get(message.message_key, 0) > 0:
            self.fail[message.message_key] -= 1
            return SendResult(False, (0,), "target 2: said no", self.retry_after)
        self.taken.append(message.message_key)
        return SendResult(True, (0, 1))

    def close(self) -> None:
        self.closed = True


def quick(failures: int) -> float:
    return 0.01


def test_notifier_keeps_the_order_of_a_product_while_another_passes_by() -> None:
    transport, rows = FakeTransport({"k1": 3}), []
    notifier = Notifier(transport, rows.extend, pause=quick)
    notifier.offer([message(1), message(2), message(3, "ETH-USD")])
    assert notifier.close(5.0) == 0
    assert transport.taken.index("k1") < transport.taken.index("k2")
    assert transport.taken[0] == "k3"
    assert [row.is_ok for row in rows if row.message_key == "k1"] == [False, False, False, True]
    assert {row.message_key for row in rows if row.is_ok} == {"k1", "k2", "k3"}
    assert transport.closed


def test_notifier_sends_an_offered_key_once() -> None:
    transport = FakeTransport()
    notifier = Notifier(transport, lambda rows: None)
    notifier.offer([message(1)])
    notifier.offer([message(1), message(2)])
    notifier.close(5.0)
    assert transport.taken == ["k1", "k2"]


def test_notifier_retries_only_the_targets_that_failed() -> None:
    transport = FakeTransport({"k1": 1})
    notifier = Notifier(transport, lambda rows: None, pause=quick)
    notifier.offer([message(1)])
    notifier.close(5.0)
    assert [skip for _, _, skip in transport.tried] == [(), (0,)]


def test_notifier_waits_as_long_as_the_target_asks() -> None:
    transport = FakeTransport({"k1": 1}, retry_after=0.3)
    notifier = Notifier(transport, lambda rows: None, pause=quick)
    notifier.offer([message(1)])
    notifier.close(5.0)
    (_, first, _), (_, second, _) = transport.tried
    assert second - first >= 0.3


def test_outage_leaves_the_backlog_visible_and_ends_in_time() -> None:
    transport = FakeTransport({"k1": 10**6})
    notifier = Notifier(transport, lambda rows: None, pause=quick)
    notifier.offer([message(1), message(2)])
    assert notifier.backlog == 2
    began = time.monotonic()
    assert notifier.close(0.3) == 2
    assert time.monotonic() - began < 3
    assert transport.taken == []


def test_offer_returns_at_once_while_a_target_hangs() -> None:
    release = threading.Event()

    class Hanging(FakeTransport):
        def send(self, message: OutboxRow, skip: Sequence[int]) -> SendResult:
            release.wait(10)
            return SendResult(False)

        def close(self) -> None:
            release.set()

    notifier = Notifier(Hanging(), lambda rows: None, pause=lambda failures: 60.0)
    began = time.monotonic()
    notifier.offer([message(number) for number in range(1000)])
    assert time.monotonic() - began < 0.5
    assert notifier.close(0.1) == 1000
    assert time.monotonic() - began < 3


def test_tries_that_could_not_be_recorded_are_recorded_later() -> None:
    rows: list[DeliveryRow] = []
    refusals = [1]

    def record(tries: Sequence[DeliveryRow]) -> None:
        if refusals:
            refusals.pop()
            raise StoreBusyError("busy")
        rows.extend(tries)

    notifier = Notifier(FakeTransport(), record)
    notifier.offer([message(1)])
    notifier.close(5.0)
    assert [row.message_key for row in rows] == ["k1"]


def test_notifier_without_targets_sends_nothing_and_keeps_the_backlog() -> None:
    notifier = Notifier(None, lambda rows: None)
    notifier.offer([message(1)])
    assert notifier.close(0.1) == 1


def test_pauses_grow_to_a_minute() -> None:
    assert [pause_seconds(number) for number in (1, 2, 3, 7, 500)] == [1, 2, 4, 60, 60]


def test_scrub_hides_urls_and_tokens() -> None:
    text = scrub(
        "POST https://api.telegram.org/bot123456:ABCdefGHIjklMNOpqrSTUvwxYZ012345678/send failed, error=429 123456:ABCdefGHIjklMNOpqrSTUvwxYZ012"
    )
    assert "ABCdef" not in text
    assert "429" in text


def test_receiver_counts_every_message_of_the_child_process() -> None:
    rows: list[DeliveryRow] = []
    with Receiver() as receiver:
        receiver.refuse_next = 2
        notifier = Notifier(AppriseChild([receiver.url]), rows.extend, pause=quick)
        notifier.offer([message(number, "BTC-USD" if number % 2 else "") for number in range(40)])
        assert notifier.close(30.0) == 0
        assert receiver.keys == {f"k{number}" for number in range(40)}
        assert len(receiver.messages) == 40
        odd = [line["key"] for line in receiver.messages if int(line["key"][1:]) % 2]
        assert odd == [f"k{number}" for number in range(1, 40, 2)]
    assert sum(not row.is_ok for row in rows) == 2
    assert sum(row.is_ok for row in rows) == 40
    assert all(receiver.url not in row.detail for row in rows)


def test_child_that_dies_is_started_again() -> None:
    with Receiver() as receiver:
        child = AppriseChild([receiver.url])
        try:
            assert child.send(message(1), ()).ok
            (process,) = (own for own in psutil.Process().children() if "apprise_process" in " ".join(own.cmdline()))
            process.kill()
            process.wait()
            assert child.send(message(2), ()).ok
        finally:
            child.close()
        assert receiver.keys == {"k1", "k2"}


def test_html_arrives_as_text_and_an_odd_url_is_named_by_number_only() -> None:
    with Receiver() as receiver:
        child = AppriseChild([receiver.url, "nonsense://secret-token-that-is-long-enough"])
        try:
            answer = child.send(replace(message(1), title="a & b", body="1 < 2 <b>"), ())
        finally:
            child.close()
    assert (answer.ok, answer.done) == (False, (0,))
    assert "target 2" in answer.detail
    assert "secret" not in answer.detail
    assert receiver.messages[0]["message"] == "1 < 2 <b>"


def test_sender_without_targets_delivers_nothing() -> None:
    assert TargetSender([]).send({"title": "t", "body": "b", "severity": "info"}).ok is False
