"""Keep what a backtest of the serving models found: the baseline an observation is held to, a file of `models/baselines/`.

Each set of models has its own, so that a look at other candidates never replaces that of a running observation, and a rollback
finds the one it had.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime  # noqa: TC003  # a file is read by the types of its fields
from typing import TYPE_CHECKING, NamedTuple

from core.files import parse_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from core.settings import Settings

VERSION = 2
TIER_BLOCK_MINUTES = 240
"""Tiers move with volatility, which is alike for hours: minutes apart are no independent rows, four hours count as one."""


class Outcome(NamedTuple):
    """How one signal of a backtest ended."""

    minute: int
    """Epoch minute it was made of."""
    is_win: bool
    net_bps: float


class TierBlock(NamedTuple):
    """Scored minutes of one product in four hours."""

    block: int
    """Epoch minute, divided by `TIER_BLOCK_MINUTES`."""
    high: int
    medium: int
    low: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestFigures:
    """Counts and means of one product, or of all."""

    minutes: int = 0
    scored: int = 0
    signals: int = 0
    closed: int = 0
    wins: int = 0
    win_rate: float | None = None
    """Share of closed signals whose direction was right."""
    signals_per_day: float = 0.0
    gross_bps: float | None = None
    """Mean per closed signal."""
    net_bps: float | None = None
    tier_mix: dict[str, float] = field(default_factory=dict)
    """Scored minutes in each tier; older files hold shares."""
    signal_tiers: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    """Every closed signal of one product; empty over all products, and in files of version 1."""
    tier_blocks: list[TierBlock] = field(default_factory=list)
    """Scored minutes by tier in every four hours of one product, likewise."""

    @property
    def tier_shares(self) -> dict[str, float] | None:
        """Each tier's share of the scored minutes, 0 to 1; None when nothing was scored."""
        total = sum(self.tier_mix.values())
        return {tier: value / total for tier, value in self.tier_mix.items()} if total > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline(BacktestFigures):
    """What one backtest found over all products, and of each; what an older file lacks keeps its default."""

    version: int = VERSION
    dataset: str = ""
    feature_set: str = ""
    start: datetime | None = None
    end: datetime | None = None
    mode: str = ""
    models: dict[str, dict[str, str]] = field(default_factory=dict)
    """Product -> kind -> model id."""
    emit_threshold: float = 0.0
    products: dict[str, BacktestFigures] = field(default_factory=dict)
    final_equity_usd: float = 0.0

    def write(self, settings: Settings) -> Path:
        """Write the file, whole, beside those of other sets of models; return its path."""
        key = hashlib.sha256(json.dumps(self.models, sort_keys=True).encode()).hexdigest()[:12]
        path = _folder(settings) / f"{key}.json"
        moments = {name: moment and moment.isoformat() for name, moment in (("start", self.start), ("end", self.end))}
        write_json(path, asdict(self) | moments)
        return path


def read_baseline(settings: Settings, served: Mapping[str, Mapping[str, str]]) -> Baseline | None:
    """Return the newest baseline of exactly the models that serve these products, None when there is none that can be read.

    Args:
        settings: Where `DESK_HOME` lies.
        served: Product -> kind -> model id; products without a model are of no account.
    """
    for path in sorted(_folder(settings).glob("*.json"), key=lambda file: file.stat().st_mtime_ns, reverse=True):
        try:
            baseline = parse_json(Baseline, path.read_bytes())
        except (OSError, ValueError):
            continue
        if all(baseline.models.get(product) == models for product, models in served.items() if models):
            return baseline
    return None


def _folder(settings: Settings) -> Path:
    return settings.paths.home / "models" / "baselines"
