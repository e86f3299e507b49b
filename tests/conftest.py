"""What every test may lean on: a clean environment, a folder of its own, the recorded candles."""

from __future__ import annotations

import os
import random
import shutil
import signal
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.settings import Settings, load_settings
from store.feature_store import FeatureStore
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent

# a shell starts what runs behind it with Ctrl-C ignored, and children inherit that: then none of them could be interrupted
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# no test is timed: on a busy machine the 200 ms that hypothesis allows an example said nothing about the code
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting leaks in from the machine: not from its environment, not from a .env in the folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.setenv("DESK_HOME", str(tmp_path / "var"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Default settings with a DESK_HOME of the test's own, its folders made."""
    loaded = load_settings(desk_home=tmp_path / "var")
    loaded.paths.make()
    return loaded


@pytest.fixture(scope="session")
def recorded_candles() -> Path:
    """The folder of real candles; a test that needs it is skipped where it is missing."""
    folder = Path(os.environ.get("CANDLEDESK_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "coinbase_BTC-USD_1m.parquet").exists():
        pytest.skip(f"no recorded candles at {folder}; set CANDLEDESK_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def fresh_market(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], FeatureStore]:
    """Make an empty market database: fresh_market(path). The schema is built once and copied, which takes a tenth of the time."""
    template = tmp_path_factory.mktemp("template") / "market.duckdb"
    FeatureStore(template).migrate()
    return lambda path: FeatureStore(Path(shutil.copy(template, path)))


@pytest.fixture(scope="session")
def fresh_signals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], SignalStore]:
    """Make an empty signals database: fresh_signals(path), as `fresh_market` does."""
    template = tmp_path_factory.mktemp("template") / "signals.duckdb"
    SignalStore(template).migrate()
    return lambda path: SignalStore(Path(shutil.copy(template, path)))


def _walk(product: str, minutes: int, *, start: datetime, seed: int = 0, missing: float = 0.0) -> list[Candle]:
    dice = random.Random(f"{product} {seed}")
    price = Decimal("100.00")
    candles = []
    for number in range(minutes):
        opened = price
        price = max(price + Decimal(dice.randint(-9, 9)) / 100, Decimal("1.00"))
        high, low = max(opened, price) + Decimal(dice.randint(0, 3)) / 100, min(opened, price)
        volume = Decimal(dice.randint(1, 10**9)).scaleb(-8)
        if dice.random() >= missing:
            candles.append(Candle(product, start + number * MINUTE, opened, high, low, price, volume))
    return candles


@pytest.fixture(scope="session")
def walk() -> Callable[..., list[Candle]]:
    """A seeded random walk: walk(product, minutes, start=..., seed=..., missing=share of minutes left out)."""
    return _walk


@pytest.fixture(scope="session")
def as_pages() -> Callable[..., list[Page]]:
    """Cut candles into answered pages, as a provider would: as_pages(candles, span, page_minutes=300)."""

    def cut(candles: Sequence[Candle], span: Span, page_minutes: int = 300, source: str = "synthetic") -> list[Page]:
        known_at = span.end + timedelta(days=1)
        return [
            Page(
                candles[0].product if candles else "BTC-USD",
                window,
                tuple(candle for candle in candles if window.start <= candle.open_time < window.end),
                known_at,
                source,
            )
            for window in span.pages(page_minutes)
        ]

    return cut


@pytest.fixture(scope="session")
def recorded(recorded_candles: Path) -> Callable[..., list[Candle]]:
    """Real minutes: recorded(product, rows, skip=0)."""
    import pyarrow.parquet as pq

    def read(product: str, rows: int, skip: int = 0) -> list[Candle]:
        table = pq.read_table(recorded_candles / f"coinbase_{product}_1m.parquet").slice(skip, rows).to_pylist()
        prices = ("open", "high", "low", "close", "volume")
        return [
            Candle(product, row["time"].replace(tzinfo=UTC), *(Decimal(repr(row[name])) for name in prices))
            for row in table
        ]

    return read
