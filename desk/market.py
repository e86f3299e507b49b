"""The words every room shares: spans of minutes, candles, model and data set references."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from desk.errors import ConfigError, SpanError, UnknownProductError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

MINUTE = timedelta(minutes=1)
HORIZON_MINUTES = 15
FROM_TRADES = ":trades"
"""Ends the source of a candle that was built from live trades and not told by the exchange itself."""


def floor_minute(moment: datetime) -> datetime:
    """Return the start of the UTC minute that ``moment`` lies in.

    Raises:
        SpanError: ``moment`` carries no time zone.
    """
    if moment.tzinfo is None:
        msg = f"{moment.isoformat()} has no time zone; write it in UTC, such as {moment.isoformat()}+00:00"
        raise SpanError(msg)
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def require_product(product: str) -> str:
    """Return ``product`` if it looks like ``BASE-QUOTE`` in upper case.

    Raises:
        UnknownProductError: it does not.
    """
    base, _, quote = product.partition("-")
    if not (base.isalnum() and quote.isalnum() and product == product.upper()):
        msg = f"product {product!r} is not of the form BASE-QUOTE in upper case; write for example BTC-USD"
        raise UnknownProductError(msg)
    return product


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open UTC interval ``[start, end)`` on the minute grid of candle open times.

    Raises:
        SpanError: an end before or at the start, a naive time, or a time off the grid.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Refuse what is not a span of whole UTC minutes."""
        for moment in (self.start, self.end):
            if floor_minute(moment) != moment:
                msg = f"{moment.isoformat()} is not the start of a minute; leave out the seconds"
                raise SpanError(msg)
        if self.end <= self.start:
            msg = (
                f"the span ends at {self.end.isoformat()}, not after its start {self.start.isoformat()}; exchange them"
            )
            raise SpanError(msg)

    @property
    def minutes(self) -> int:
        """Number of minutes, that is of possible candles."""
        return (self.end - self.start) // MINUTE

    def pages(self, page_minutes: int) -> Iterator[Span]:
        """Cut into consecutive spans of at most ``page_minutes`` minutes, oldest first."""
        start = self.start
        while start < self.end:
            end = min(start + page_minutes * MINUTE, self.end)
            yield Span(start, end)
            start = end

    def __str__(self) -> str:
        """Return ``2024-01-01 00:00 .. 2024-02-01 00:00``."""
        return f"{self.start:%Y-%m-%d %H:%M} .. {self.end:%Y-%m-%d %H:%M}"


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed minute of one product; prices in the quote, volume in the base currency."""

    product: str
    open_time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True)
class Page:
    """One answered request: the window that was asked for and what came back.

    ``candles`` are inside ``window``, oldest first, one per minute, none of them still open;
    an empty tuple is the exchange's own word that it has nothing there.
    """

    product: str
    window: Span
    candles: Sequence[Candle]
    known_at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """Where an immutable data set lies; ``digest`` is the sha256 of its Parquet file."""

    digest: str
    path: str
    manifest_path: str


_SETTINGS = {
    ("epochs", None): "EPOCHS",
    ("stride", False): "TRAIN_STRIDE",
    ("stride", True): "TRANSFORMER_STRIDE",
    ("seed", None): "TRAIN_SEED",
    ("members", None): "TRAIN_MEMBERS",
    ("budget_seconds", None): "TRAIN_BUDGET_SECONDS",
}
"""Which setting decides a field, where one does; a stride has one for the transformer and one for the others."""


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """All that decides one training: the same spec and data set give the same bytes."""

    architecture: str
    """``lstm``, ``lstm_one_way``, ``transformer`` or ``boosting``."""
    products: tuple[str, ...]
    """One product for an LSTM, all of them for the transformer and for boosting."""
    epochs: int = 15
    """At most; early stopping usually ends a training within the first."""
    seed: int = 0
    stride: int = 1
    """Train on every ``stride``-th minute; neighbouring windows are nearly copies."""
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    dropout: float = 0.4
    patience: int = 4
    """Checks without a better one before a training ends; 0 never ends it."""
    budget_seconds: float = 0.0
    """Stop when the whole training, resumed parts included, has taken this long; 0 is no limit."""
    members: int = 1
    """Networks of the seeds ``seed``, ``seed + 1`` ..., whose logits are averaged inside one graph."""
    check_windows: int = 20_000
    """Windows between two checks on the early-stop part; the end of an epoch is one as well."""
    average_windows: int = 20_000
    """The kept weights are an average over about this many of the last windows."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            ConfigError: a field is out of its range; the text names it, what it is and what would do.
        """
        if not self.products:
            msg = f"{self.architecture}: a training needs at least one product; name one, such as BTC-USD"
            raise ConfigError(msg)
        at_least = {"epochs": 1, "stride": 1, "batch_size": 1, "members": 1, "check_windows": 1, "average_windows": 1}
        for field, least in (at_least | {"seed": 0, "patience": 0}).items():
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(self._nonsense(field, f"a whole number of at least {least}"))
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(self._nonsense("learning_rate", "above 0, such as 0.001"))
        if not 0 <= self.dropout < 1:
            raise ConfigError(self._nonsense("dropout", "at least 0 and below 1, such as 0.4"))
        for field in ("weight_decay", "budget_seconds"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(self._nonsense(field, "0 or more"))

    def _nonsense(self, field: str, wanted: str) -> str:
        setting = _SETTINGS.get((field, self.architecture == "transformer"), _SETTINGS.get((field, None)))
        where = f"; set {setting}" if setting else f"; give the training a {field} in that range"
        return f"{self.name}: {field} is {getattr(self, field)!r}, it must be {wanted}{where}"

    @property
    def name(self) -> str:
        """Return ``lstm-BTC-USD`` or ``transformer``, a name for tasks and logs."""
        return f"{self.architecture}-{self.products[0]}" if len(self.products) == 1 else self.architecture


@dataclass(frozen=True, slots=True)
class CandidateRef:
    """A trained, not yet judged model: the folder that holds its checkpoint and metrics."""

    candidate_id: str
    architecture: str
    products: tuple[str, ...]
    path: str
