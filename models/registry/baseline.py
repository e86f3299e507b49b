"""Keep what a backtest of the serving models found: the baseline an observation is held to, as `models/baseline.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from core.settings import Settings

VERSION = 1


@dataclass(frozen=True, slots=True)
class BacktestFigures:
    """Counts and means of one product, or of all."""

    minutes: int = 0
    scored: int = 0
    signals: int = 0
    closed: int = 0
    wins: int = 0
    win_rate: float | None = None
    signals_per_day: float = 0.0
    gross_bps: float | None = None
    """Mean per closed signal."""
    net_bps: float | None = None
    tier_mix: Mapping[str, float] = field(default_factory=dict)
    """Scored minutes in each tier; older files hold shares."""
    signal_tiers: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def tier_shares(self) -> dict[str, float] | None:
        """Each tier's share of the scored minutes, 0 to 1; None when nothing was scored."""
        total = sum(self.tier_mix.values())
        return {tier: value / total for tier, value in self.tier_mix.items()} if total > 0 else None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> BacktestFigures:
        """Take the figures out of a JSON object; what an older file lacks keeps its default."""
        return cls(**{own.name: content[own.name] for own in fields(cls) if own.name in content})


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one backtest found."""

    dataset: str
    feature_set: str
    start: datetime | None
    end: datetime | None
    mode: str
    models: Mapping[str, Mapping[str, str]]
    """Product -> kind -> model id."""
    emit_threshold: float
    total: BacktestFigures
    products: Mapping[str, BacktestFigures]
    final_equity_usd: float

    @property
    def signals(self) -> int:
        """Signals emitted."""
        return self.total.signals

    @property
    def win_rate(self) -> float:
        """Share of closed signals whose direction was right; not a number without any."""
        return float("nan") if self.total.win_rate is None else self.total.win_rate

    def write(self, path: Path) -> None:
        """Write the file whole: the total's figures on top, each product's under ``products``."""
        content = asdict(self)
        total = content.pop("total")
        moments = {name: moment and moment.isoformat() for name, moment in (("start", self.start), ("end", self.end))}
        write_json(path, {"version": VERSION, **content, **total, **moments})


def baseline_path(settings: Settings) -> Path:
    """Return where the baseline of this `DESK_HOME` lies."""
    return settings.paths.home / "models" / "baseline.json"


def read_baseline(settings: Settings) -> Baseline | None:
    """Read the baseline; None when there is none that can be read, which a verdict names with the repair."""
    try:
        content = json.loads(baseline_path(settings).read_text(encoding="utf-8"))
        moments = {name: content.get(name) and datetime.fromisoformat(content[name]) for name in ("start", "end")}
        return Baseline(
            dataset=str(content.get("dataset", "")),
            feature_set=str(content.get("feature_set", "")),
            mode=str(content.get("mode", "")),
            models=dict(content.get("models", {})),
            emit_threshold=float(content.get("emit_threshold", 0.0)),
            total=BacktestFigures.read(content),
            products={product: BacktestFigures.read(entry) for product, entry in content.get("products", {}).items()},
            final_equity_usd=float(content.get("final_equity_usd", 0.0)),
            **moments,
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return None
