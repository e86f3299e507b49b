"""Bring in what a minute is decided on: candles from the feed, features from the in-memory store, scores of the models.

Shapes: N feature rows, B windows, T minutes per window, F features.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from core.candles import MINUTE, Span, epoch_minute
from market.ingest.live_feed import fetch_live
from models.datasets.windows import usable_ends, windows
from store.candle_rules import fault
from store.feature_sets import feature_set

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from core.candles import Candle
    from core.settings import Settings
    from market.providers.base import Provider
    from runtime.drift import DriftWatch
    from runtime.loaded_models import LoadedModel, ProductModels
    from store.feature_sets import FeatureBlock
    from store.feature_store import FeatureStore

    Reload = Callable[[], Mapping[str, ProductModels]]
    """Opens the models that serve now."""

REASK_MINUTES = 5
"""Each tick asks again for this many minutes before it: candles that came late or were revised still reach the features."""
LAG_STEP, MAX_LAG = timedelta(seconds=1), timedelta(seconds=40)
"""A start is refused when the clocks are more than 30 s apart (`MAX_CLOCK_SKEW_SECONDS`)."""
SCORE_BATCH = 4
"""Windows per call: their activations stay in the cache and in a few MB; 60 at once take 200 MB more and are no faster."""
Scores = dict[str, dict[int, dict[str, float | None]]]
"""Product -> epoch minute -> model kind -> probability, None for a minute whose window is not complete."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Answers:
    """What came back: candles by product and minute, and why a product could not be asked."""

    candles: dict[str, dict[datetime, Candle]] = field(default_factory=dict)
    answered: dict[str, list[Span]] = field(default_factory=dict)
    """Per product, the minutes the exchange spoke of, with or without a candle; it leaves out those not over by its own clock."""
    present: datetime | None = None
    """The exchange's own time at its last answer."""
    failures: dict[str, str] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)

    def has_answer(self, product: str, open_time: datetime) -> bool:
        """Return whether the exchange spoke of the minute: no candle of it is then no trade, and not a silent feed."""
        return any(span.start <= open_time < span.end for span in self.answered.get(product, ()))

    def add(self, other: Answers) -> None:
        """Take up what else was answered."""
        for product, candles in other.candles.items():
            self.candles.setdefault(product, {}).update(candles)
        for product, spans in other.answered.items():
            self.answered.setdefault(product, []).extend(spans)


class Feed:
    """The live feed and the event loop it lives in: one for the whole session, so that connections stay open."""

    def __init__(self, provider: Provider) -> None:
        """Ask ``provider``, which `close` closes."""
        self._provider = provider
        self._runner = asyncio.Runner()

    def check(self) -> str:
        """Return the provider's one line about itself.

        Raises:
            ProviderError: the clock is off, the key was refused, or it cannot be reached.
        """
        return self._runner.run(self._provider.check())

    def ask(self, spans: Mapping[str, Span], timeout: float | None = None) -> Answers:
        """Fetch the span of each product, for ``timeout`` seconds at most; a product that fails is named, never raised for."""
        answers = Answers()
        for product, answer in self._runner.run(fetch_live(self._provider, spans, timeout)).items():
            for page in answer.pages:
                known = answers.candles.setdefault(product, {})
                answers.answered.setdefault(product, []).append(page.window)
                answers.present = max(answers.present or page.known_at, page.known_at)
                for candle in page.candles:
                    why = fault(candle, page.window, page.known_at)
                    if why is None:
                        known[candle.open_time] = candle
                    else:
                        # no candle to decide on: the market store keeps it in quarantine, training never saw one
                        _log.warning("%s, %s: the candle is left out (%s)", product, candle.open_time, why)
                answers.sources.add(page.source)
            if answer.failure:
                answers.failures[product] = str(answer.error or answer.failure)
        return answers

    def close(self) -> None:
        """Close the provider's connections and the event loop."""
        self._runner.run(self._provider.aclose())
        self._runner.close()


@dataclass(slots=True)
class Inputs:
    """Where a session's candles, features and scores come from; nothing here remembers a decision."""

    settings: Settings
    feed: Feed
    features: FeatureStore
    models: Mapping[str, ProductModels]
    kept: timedelta
    """How far back the in-memory feature store reaches."""
    drift: DriftWatch
    reload: Reload | None = None
    registry_mark: tuple[int, int] | None = None
    _owed: dict[str, datetime] = field(default_factory=dict)
    """Per product, the first minute the exchange gave no answer for."""

    @property
    def products(self) -> tuple[str, ...]:
        """The products watched, in order."""
        return tuple(self.models)

    @property
    def crosses_products(self) -> bool:
        """Whether the features of a product also read the others."""
        return feature_set(self.settings.feature_set).crosses_products

    def fetch(self, first: datetime, last: datetime, timeout: float | None = None) -> Answers:
        """Ask for the minutes ``[first, last]`` of all products, and again for those owed; keep what came.

        A product that gives no answer within ``timeout`` seconds is left for the next time, so that the others are decided.
        """
        back = first - REASK_MINUTES * MINUTE
        # one that is watched no longer may be owed as well, as long as it has an open position
        wanted = dict.fromkeys([*self.products, *self._owed])
        answers = self.feed.ask(
            {product: Span(min(back, self._owed.get(product, back)), last + MINUTE) for product in wanted}, timeout
        )
        for product in wanted:
            if product in answers.failures:
                _log.warning("%s: %s", product, answers.failures[product])
            if product in answers.failures or not answers.has_answer(product, last):
                # never older than what the feature store keeps
                self._owed.setdefault(product, max(first, last - self.kept))
            else:
                self._owed.pop(product, None)
            if product not in self.products and self._owed.get(product, last) < last - self.kept:
                # nothing that old is waited for any more
                del self._owed[product]
        self.record(answers)
        return answers

    def owe(self, products: Sequence[str], open_time: datetime) -> None:
        """Ask these products again from ``open_time`` on, the next time."""
        for product in products:
            self._owed[product] = min(open_time, self._owed.get(product, open_time))

    def fetch_closed(
        self, first: datetime, last: datetime, timeout: float | None, wait: Callable[[timedelta], None]
    ) -> tuple[Answers, timedelta]:
        """Fetch the minutes ``[first, last]`` once the exchange, too, counts them as over; return how long that took.

        A clock 10 s ahead of the exchange's made every minute look as if nothing had been traded in it.
        """
        answers, waited, began = self.fetch(first, last, timeout), timedelta(), time.monotonic()
        while waited < MAX_LAG and answers.present is not None and answers.present < last + MINUTE:
            wait(LAG_STEP)
            # a product that hangs makes each round longer
            waited = max(waited + LAG_STEP, timedelta(seconds=time.monotonic() - began))
            answers = self.fetch(first, last, timeout)
        return answers, waited

    def silence(self, answers: Answers) -> str:
        """Return in words which products gave no answer and why, and whom that concerns; empty when all answered."""
        if not answers.failures:
            return ""
        causes = "; ".join(f"{product}: {why}" for product, why in sorted(answers.failures.items()))
        all_wait = "; features read every product, so none is decided on meanwhile" if self.crosses_products else ""
        return f" ({causes}){all_wait}"

    def record(self, answers: Answers) -> None:
        """Put fetched candles into the in-memory feature store."""
        candles = [candle for product in self.products for candle in answers.candles.get(product, {}).values()]
        if candles:
            self.features.upsert_candles(candles)

    def are_missing(self, product: str, answers: Answers) -> bool:
        """Return whether candles its features need could not be asked for: its own, or those of any product they also read."""
        failed = answers.failures.keys() & set(self.products)
        return bool(failed) if self.crosses_products else product in failed

    def scores(self, first: datetime, last: datetime) -> Scores:
        """Score the minutes ``[first, last]`` of every product with a model, by the same SQL as in training."""
        loaded = {product: own for product, own in self.models.items() if own.models}
        if not loaded or first > last:
            return {}
        start, end = epoch_minute(first), epoch_minute(last)
        longest = max(own.window_minutes for own in loaded.values())
        # one query for all products: planning it is most of a tick's 133 ms (measured), whatever it returns
        blocks = self.features.feature_blocks(
            sorted(loaded), first - (longest - 1) * MINUTE, last + MINUTE, self.settings.feature_set
        )
        for block in blocks.values():
            self.drift.count(block, start, end)
        return score_products(blocks, loaded, start, end)

    def has_new_registry(self) -> bool:
        """Return whether the registry's file was replaced since the last time; asked once per tick, it costs a stat."""
        if self.reload is None:
            return False
        before, self.registry_mark = self.registry_mark, file_mark(self.settings.paths.registry)
        return before != self.registry_mark

    def trim(self, last: datetime) -> None:
        """Forget candles no feature needs any more."""
        self.features.trim(last - self.kept)

    def close(self) -> None:
        """Let go of the provider and the in-memory store."""
        self.feed.close()
        self.features.close()


def file_mark(path: Path) -> tuple[int, int] | None:
    """Return what changes whenever the file is replaced, None while there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def input_windows(
    block: FeatureBlock, length: int, first_minute: int, last_minute: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the complete windows that end in ``[first_minute, last_minute]`` (epoch minutes).

    A window of T rows is complete if its rows are T consecutive minutes: a hole, which starts a new segment, breaks it.

    Returns:
        ``end_B`` the minute each window ends with, and ``x_BTF`` float32, C-contiguous.
    """
    minute_n = block.minute_N
    ends = usable_ends(minute_n, length) & (minute_n >= first_minute) & (minute_n <= last_minute)
    rows = np.flatnonzero(ends)
    return minute_n[rows], windows(block.x_NF, rows, length)


def _score(model: LoadedModel, product: str, block: FeatureBlock, first: int, last: int) -> dict[int, float]:
    end_b, x_btf = input_windows(block, model.window_minutes, first, last)
    parts = [model.scorer.score(x_btf[at : at + SCORE_BATCH], product) for at in range(0, len(x_btf), SCORE_BATCH)]
    return dict(zip(end_b.tolist(), np.concatenate([np.empty(0), *parts]).tolist(), strict=True))


def score_products(
    blocks: Mapping[str, FeatureBlock], models: Mapping[str, ProductModels], first: int, last: int, workers: int = 1
) -> Scores:
    """Score the epoch minutes ``[first, last]`` of every product that has a model and a block.

    With ``workers`` above 1 on as many threads, for a backtest that has the cores and the memory.
    """

    def score(product: str) -> dict[int, dict[str, float | None]]:
        known = {
            kind: _score(model, product, blocks[product], first, last) for kind, model in models[product].models.items()
        }
        minutes = range(first, last + 1)
        return {minute: {kind: scores.get(minute) for kind, scores in known.items()} for minute in minutes}

    products = [product for product, own in models.items() if own.models and product in blocks]
    if workers == 1:
        return {product: score(product) for product in products}
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(products, pool.map(score, products), strict=True))
