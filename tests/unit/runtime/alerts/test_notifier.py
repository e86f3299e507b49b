from __future__ import annotations

import math
import threading
import time
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psutil
import pytest

from core.errors import StoreBusyError
from runtime.alerts.local_receiver import Receiver
from runtime.alerts.notifier import (
    MAX_RETRY_AFTER_SECONDS,
    AppriseChild,
    Notifier,
    SendResult,
    apprise_targets,
    pause_seconds,
    target_name,
)
from store.signal_rows import DeliveryRow, OutboxRow, OwedMessage, ReceiptRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.alerts.notifier import RecordTries

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)


def message(number: int, product: str = "BTC-USD") -> OutboxRow:
    return OutboxRow(f"k{number}", AT, number, "signal", product, "info", f"title {number}", f"text\nref k{number}")


class FakeTransport:
    """Takes messages unless told to fail; remembers the order of tries."""

    def __init__(self, fail: dict[str, int] | None = None, retry_after: float = 0.0) -> None:
        self.fail = fail or {}
        self.retry_after = retry_after
        self.tried: list[tuple[str, float]] = []
        self.taken: list[str] = []
        self.closed = False

    def send(self, message: OutboxRow) -> SendResult:
        self.tried.append((message.message_key, time.monotonic()))
        if self.fail.get(message.message_key, 0) > 0:
            self.fail[message.message_key] -= 1
            return SendResult(False, "said no", self.retry_after)
        self.taken.append(message.message_key)
        return SendResult(True)

    def close(self) -> None:
        self.closed = True


def quick(failures: int) -> float:
    return 0.01


def ignore(tries: Sequence[DeliveryRow], receipts: Sequence[ReceiptRow]) -> None:
    pass


def into(rows: list[DeliveryRow]) -> RecordTries:
    return lambda tries, receipts: rows.extend(tries)


def test_notifier_keeps_the_order_of_a_product_while_another_passes_by() -> None:
    rows: list[DeliveryRow] = []
    transport = FakeTransport({"k1": 3})
    notifier = Notifier({"a": transport}, into(rows), pause=quick)
    notifier.offer([message(1), message(2), message(3, "ETH-USD")])
    assert notifier.close(5.0) == 0
    assert transport.taken.index("k1") < transport.taken.index("k2")
    assert transport.taken[0] == "k3"
    assert [row.is_ok for row in rows if row.message_key == "k1"] == [False, False, False, True]
    assert {row.message_key for row in rows if row.is_ok} == {"k1", "k2", "k3"}
    assert transport.closed


def test_notifier_sends_an_offered_key_once() -> None:
    transport = FakeTransport()
    notifier = Notifier({"a": transport}, ignore)
    notifier.offer([message(1)])
    notifier.offer([message(1), message(2)])
    notifier.close(5.0)
    assert transport.taken == ["k1", "k2"]


@pytest.mark.parametrize("dead", [0, 1])
def test_dead_target_delays_no_other_and_leaves_dead_letters(dead: int) -> None:
    refusing, living = FakeTransport(dict.fromkeys((f"k{number}" for number in range(5)), 10**6)), FakeTransport()
    targets = {"a": refusing, "b": living} if dead == 0 else {"b": living, "a": refusing}
    rows: list[DeliveryRow] = []
    receipts: list[ReceiptRow] = []

    def record(tries: Sequence[DeliveryRow], settled: Sequence[ReceiptRow]) -> None:
        rows.extend(tries)
        receipts.extend(settled)

    notifier = Notifier(targets, record, pause=quick, max_tries=3)
    notifier.offer([message(number) for number in range(5)])
    assert notifier.close(10.0) == 0
    assert living.taken == [f"k{number}" for number in range(5)]
    assert [key for key, _ in refusing.tried] == [f"k{number}" for number in range(5) for _ in range(3)]
    assert {row.message_key for row in receipts if row.target == "a" and not row.is_delivered} == set(living.taken)
    assert {row.message_key for row in receipts if row.target == "b" and row.is_delivered} == set(living.taken)
    assert not any(row.is_ok for row in rows)


def test_notifier_spares_the_targets_that_settled_a_message_before() -> None:
    first, second = FakeTransport(), FakeTransport()
    notifier = Notifier({"a": first, "b": second}, ignore)
    owed = OwedMessage(*(getattr(message(1), own.name) for own in fields(OutboxRow)), settled=("a",))
    notifier.offer([owed])
    assert notifier.close(5.0) == 0
    assert (first.taken, second.taken) == ([], ["k1"])


def test_each_telegram_chat_is_a_target_of_its_own() -> None:
    targets = apprise_targets(["tgram://12:abc/1/-2/?format=text", "tgram://12:abc/3", "json://localhost/a/b"])
    assert [name.partition(":")[0] for name in targets] == ["tgram", "tgram", "tgram", "json"]
    assert len(targets) == 4
    assert target_name("tgram://12:abc/-2?format=text") in targets
    assert not any("abc" in name for name in targets)


@pytest.mark.parametrize("error", [RuntimeError("plug-in"), OverflowError("timestamp too large"), AssertionError()])
def test_sending_thread_outlives_any_exception(error: Exception) -> None:
    class Raising(FakeTransport):
        def send(self, message: OutboxRow) -> SendResult:
            if not self.tried:
                self.tried.append((message.message_key, 0.0))
                raise error
            return super().send(message)

    failing = [OSError("disk full"), error]

    def record(tries: Sequence[DeliveryRow], settled: Sequence[ReceiptRow]) -> None:
        if failing:
            raise failing.pop()

    transport = Raising()
    notifier = Notifier({"a": transport}, record, pause=quick)
    notifier.offer([message(1), message(2)])
    assert notifier.close(5.0) == 0
    assert transport.taken == ["k1", "k2"]


@pytest.mark.parametrize("retry_after", [99999999999.0, math.inf])
def test_retry_after_is_an_hour_at_most(retry_after: float) -> None:
    waits: list[float] = []
    transport = FakeTransport({"k1": 1}, retry_after=retry_after)
    notifier = Notifier({"a": transport}, ignore, pause=lambda failures: waits.append(MAX_RETRY_AFTER_SECONDS) or 0.0)
    notifier.offer([message(1), message(2, "ETH-USD")])
    assert notifier.close(0.5) == 1
    assert waits == [3600.0]
    assert transport.taken == ["k2"]


def test_child_that_gives_no_answer_is_ended() -> None:
    with Receiver() as receiver:
        child = AppriseChild(receiver.url, answer_seconds=0.01)
        try:
            answer = child.send(message(1))
        finally:
            child.close()
    assert not answer.ok
    assert "gave no answer" in answer.detail


def test_sending_process_sees_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("COINBASE_API_SECRET", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "ALERT_URLS", "GITHUB_TOKEN")
    for name in secrets:
        monkeypatch.setenv(name, "hush")
    with Receiver() as receiver:
        child = AppriseChild(receiver.url)
        try:
            assert child.send(message(1)).ok
            (process,) = (own for own in psutil.Process().children() if "apprise_process" in " ".join(own.cmdline()))
            environment = process.environ()
        finally:
            child.close()
    assert not set(secrets) & set(environment)
    assert "PATH" in environment


def test_notifier_waits_as_long_as_the_target_asks() -> None:
    transport = FakeTransport({"k1": 1}, retry_after=0.3)
    notifier = Notifier({"a": transport}, ignore, pause=quick)
    notifier.offer([message(1)])
    notifier.close(5.0)
    (_, first), (_, second) = transport.tried
    assert second - first >= 0.3


def test_outage_leaves_the_backlog_visible_and_ends_in_time() -> None:
    transport = FakeTransport({"k1": 10**6})
    notifier = Notifier({"a": transport}, ignore, pause=quick)
    later = replace(message(2), created_at=AT + timedelta(minutes=1))
    notifier.offer([message(1), later])
    assert (notifier.backlog, notifier.oldest_waiting, notifier.targets) == (2, AT, 1)
    began = time.monotonic()
    assert notifier.close(0.3) == 2
    assert time.monotonic() - began < 3
    assert transport.taken == []


def test_offer_returns_at_once_while_a_target_hangs() -> None:
    release = threading.Event()

    class Hanging(FakeTransport):
        def send(self, message: OutboxRow) -> SendResult:
            release.wait(10)
            return SendResult(False)

        def close(self) -> None:
            release.set()

    notifier = Notifier({"a": Hanging()}, ignore, pause=lambda failures: 60.0)
    began = time.monotonic()
    notifier.offer([message(number) for number in range(1000)])
    assert time.monotonic() - began < 0.5
    assert notifier.close(0.1) == 1000
    assert time.monotonic() - began < 3


def test_tries_that_could_not_be_recorded_are_recorded_later() -> None:
    rows: list[DeliveryRow] = []
    refusals = [1]

    def record(tries: Sequence[DeliveryRow], receipts: Sequence[ReceiptRow]) -> None:
        if refusals:
            refusals.pop()
            raise StoreBusyError("busy")
        rows.extend(tries)

    notifier = Notifier({"a": FakeTransport()}, record)
    notifier.offer([message(1)])
    notifier.close(5.0)
    assert [row.message_key for row in rows] == ["k1"]


def test_notifier_without_targets_sends_nothing_and_keeps_the_backlog() -> None:
    notifier = Notifier({}, ignore)
    notifier.offer([message(1)])
    # nothing can wait for a target that is not there: an alarm on its age would never end
    assert (notifier.oldest_waiting, notifier.targets) == (None, 0)
    assert notifier.close(0.1) == 1


def test_pauses_grow_to_a_minute() -> None:
    assert [pause_seconds(number) for number in (1, 2, 3, 7, 500)] == [1, 2, 4, 60, 60]


def test_receiver_counts_every_message_of_the_child_process() -> None:
    rows: list[DeliveryRow] = []
    with Receiver() as receiver:
        receiver.refuse_next = 2
        notifier = Notifier({"a": AppriseChild(receiver.url)}, into(rows), pause=quick)
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
        child = AppriseChild(receiver.url)
        try:
            assert child.send(message(1)).ok
            (process,) = (own for own in psutil.Process().children() if "apprise_process" in " ".join(own.cmdline()))
            process.kill()
            process.wait()
            assert child.send(message(2)).ok
        finally:
            child.close()
        assert receiver.keys == {"k1", "k2"}


def test_html_arrives_as_text() -> None:
    with Receiver() as receiver:
        child = AppriseChild(receiver.url)
        try:
            answer = child.send(replace(message(1), title="a & b", body="1 < 2 <b>"))
        finally:
            child.close()
    assert answer.ok
    assert receiver.messages[0]["message"] == "1 < 2 <b>"


def test_odd_url_is_refused_for_good_without_showing_it() -> None:
    child = AppriseChild("nonsense://secret-token")
    try:
        answer = child.send(message(1))
    finally:
        child.close()
    assert (answer.ok, answer.is_final) == (False, True)
    assert "secret" not in answer.detail
