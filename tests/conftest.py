"""What every test may lean on: a clean environment, a folder of its own, the recorded candles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from desk.config import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


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
def prefect_harness() -> Iterator[None]:
    """One temporary Prefect server for the whole session: it costs half a minute, each flow then a second or two."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield
