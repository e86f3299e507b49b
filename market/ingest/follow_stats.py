"""Count what following a market came to: minutes, candles, revisions, and the delay from each minute's close to its commit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from store.ingest import WriteCount


@dataclass(slots=True)
class FollowStats:
    """Counts of one session, and the delay of every minute that was stored live."""

    minutes: int = 0
    stored: int = 0
    """Candles of minutes that had none, those of filled gaps included."""
    revised: int = 0
    quarantined: int = 0
    outages: int = 0
    delays: list[float] = field(default_factory=list)
    """Seconds from a minute's close to its commit, one a minute."""

    def add(self, count: WriteCount, delay: float | None) -> None:
        """Count one commit; ``delay`` is its distance from the close of a minute it stored first."""
        self.stored += count.stored
        self.revised += count.revised
        self.quarantined += count.quarantined
        if delay is not None:
            self.delays.append(delay)

    def delay(self, share: float) -> float | None:
        """Return the delay, seconds, that ``share`` of the minutes did not exceed (nearest rank); None without any."""
        if not self.delays:
            return None
        ordered = sorted(self.delays)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    @property
    def delay_summary(self) -> str:
        """The delays in one phrase."""
        if not self.delays:
            return "no minute stored live yet"
        p50, p95, longest = (self.delay(share) for share in (0.5, 0.95, 1.0))
        return f"close to commit p50 {p50:.2f} s, p95 {p95:.2f} s, max {longest:.2f} s over {len(self.delays)} minutes"

    def write(self, file: Path) -> None:
        """Write the figures as JSON, for people and their own tools; nothing here reads them back."""
        counts = {name: getattr(self, name) for name in ("minutes", "stored", "revised", "quarantined", "outages")}
        delays = {"p50": self.delay(0.5), "p95": self.delay(0.95), "max": self.delay(1.0), "count": len(self.delays)}
        write_json(file, {**counts, "delay_seconds": delays})
