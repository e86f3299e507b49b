"""Word a runtime's status for Prometheus: names and units after its conventions, in a registry of their own.

All of it is computed when it is asked for, from the last snapshot; the loop pays nothing. Memory, processor time, open files
and the start of the process come from `prometheus_client` itself (``process_...``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from runtime.health.board import BUCKETS_SECONDS, LATENCY, LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from runtime.health.snapshot import AccountStatus, RuntimeSnapshot, RuntimeStatus, StageTimes

BLOCKS = ("daily_loss", "total_loss")
_PREFIX = "candledesk_"


def registry_of(status: Callable[[], RuntimeStatus]) -> CollectorRegistry:
    """Return the registry of one runtime; ``status`` is asked at each scrape."""
    registry = CollectorRegistry()
    registry.register(RuntimeCollector(status))
    ProcessCollector(registry=registry)
    return registry


class RuntimeCollector(Collector):
    """Turns the present status into metrics."""

    def __init__(self, status: Callable[[], RuntimeStatus]) -> None:
        """Keep what is asked at each scrape."""
        self._status = status

    def describe(self) -> Iterable[Metric]:
        """Return nothing: else the registry would ask for a status while it is built."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of this moment; before the first tick those of the process alone."""
        status = self._status()
        snapshot = status.snapshot
        states = {level.upper(): float(level.upper() == status.state) for level in LEVELS}
        yield _gauge("healthy", "Whether minutes are being decided: 1 or 0.", float(status.health.is_healthy))
        yield _labelled("state", "1 for the state that holds.", "state", states)
        yield _gauge("alerts_waiting", "Messages that wait to be sent.", status.alerts.waiting)
        oldest = status.alerts.oldest_age_seconds or 0.0
        yield _gauge("alerts_oldest_waiting_age_seconds", "Age of the oldest waiting message, 0 without one.", oldest)
        if snapshot is None:
            return
        yield from _of_minutes(status, snapshot)
        yield from _of_account(snapshot.account)
        yield from _of_sessions(snapshot)
        yield from _of_stages(snapshot.stages)


def _of_minutes(status: RuntimeStatus, snapshot: RuntimeSnapshot) -> Iterator[Metric]:
    age = status.health.tick_age_seconds or 0.0
    yield _gauge("tick_age_seconds", "Time since the last tick that decided minutes.", age)
    decided = {own.product: own.last_decided_minute.timestamp() for own in snapshot.products if own.last_decided_minute}
    text = "Open time of the last minute decided, by the exchange's clock."
    yield _labelled("last_decided_minute_timestamp_seconds", text, "product", decided)
    text = "Time since the close of the last minute decided."
    yield _labelled("decided_age_seconds", text, "product", status.decided_age_seconds)
    text = "Time since the close of the last minute that had a candle."
    yield _labelled("candle_age_seconds", text, "product", status.candle_age_seconds)
    paused = {own.product: float(own.product in status.switch.stopping.paused) for own in snapshot.products}
    yield _labelled("paused", "Whether a person paused the product: 1 or 0.", "product", paused)
    decisions = CounterMetricFamily(f"{_PREFIX}decisions", "Decisions by reason, of this session.", labels=["reason"])
    for reason, count in sorted(snapshot.decisions.items()):
        decisions.add_metric([reason], count)
    yield decisions


def _of_account(account: AccountStatus) -> Iterator[Metric]:
    used = {limit.rule: limit.used_ratio for limit in account.limits}
    left = {limit.rule: float(limit.left_usd) for limit in account.limits}
    yield _labelled("limit_used_ratio", "Share of the firm's loss limit in use, 0 to 1 and beyond.", "rule", used)
    yield _labelled("limit_left_usd", "What may be lost before our own stop, below 0 past it.", "rule", left)
    blocked = {block: float(block == account.blocked_by) for block in BLOCKS}
    yield _labelled("blocked", "1 for the stop of the firm's rules that holds.", "reason", blocked)
    yield _gauge("balance_usd", "Balance of the paper account.", float(account.balance_usd))
    yield _gauge("equity_usd", "Balance and open positions at their last prices.", float(account.equity_usd))
    yield _gauge("open_positions", "Open paper positions.", len(account.positions))


def _of_sessions(snapshot: RuntimeSnapshot) -> Iterator[Metric]:
    starts = CounterMetricFamily(f"{_PREFIX}starts", "Starts of the runtime in this folder, ever.")
    starts.add_metric([], snapshot.starts)
    yield starts
    if (crash := snapshot.last_crash) is not None:
        moment = (crash.ended_at or crash.started_at).timestamp()
        text = "End of the newest session that crashed, its start where the end is not known."
        yield _gauge("last_crash_timestamp_seconds", text, moment)
    text = "Messages given up at a target; counted at the start and every ten minutes."
    yield _gauge("dead_letters", text, snapshot.dead_letters)
    names = ("session_id", "mode", "observation_id", "feature_set")
    labels = {name: str(getattr(snapshot, name)) for name in names}
    yield InfoMetricFamily(f"{_PREFIX}session", "What runs.", value=labels)


def _of_stages(stages: Iterable[StageTimes]) -> Iterator[Metric]:
    work = HistogramMetricFamily(f"{_PREFIX}stage_duration_seconds", "Time of one stage of a tick.", labels=["stage"])
    for times in stages:
        if times.stage == LATENCY:
            text = "Time from a minute's close to its decision, of minutes that were not stale."
            latency = HistogramMetricFamily(f"{_PREFIX}decision_latency_seconds", text, labels=[])
            latency.add_metric([], _buckets(times), times.sum_seconds)
            yield latency
        else:
            work.add_metric([times.stage], _buckets(times), times.sum_seconds)
    yield work


def _buckets(times: StageTimes) -> list[tuple[str, float]]:
    pairs = zip(BUCKETS_SECONDS, times.bucket_counts, strict=True)
    return [*((str(bound), float(count)) for bound, count in pairs), ("+Inf", float(times.count))]


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
