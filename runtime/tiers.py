"""Tiers of confidence, slow to change: high, medium, low.

A coin changes its tier only when the confidence is past the cut by a margin in two consecutive minutes, so a
confidence that trembles around 0.75 does not make the tier tremble. The first minute of a coin takes its tier as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_ORDER = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class TierRules:
    """Lower bounds of the two upper tiers and the margin past them that a change needs."""

    high: float = 0.75
    medium: float = 0.65
    margin: float = 0.02

    def level(self, confidence: float) -> int:
        """Return 2, 1 or 0 for high, medium or low, without any memory."""
        return 2 if confidence >= self.high else int(confidence >= self.medium)


@dataclass(slots=True)
class TierTracker:
    """One coin's tier."""

    rules: TierRules
    _level: int | None = None
    _pending: int | None = field(default=None)

    @classmethod
    def restored(cls, rules: TierRules, tier: str | None) -> TierTracker:
        """Take up again from the tier of the last decision."""
        return cls(rules, None if tier is None else _ORDER.index(tier))

    def skip(self) -> None:
        """Note a minute without a probability: what was pending is forgotten, the tier stays."""
        self._pending = None

    def update(self, confidence: float) -> str:
        """Take in one minute and return the tier in force."""
        if self._level is None:
            self._level = self.rules.level(confidence)
            return _ORDER[self._level]
        wanted = self._wanted(confidence)
        if wanted == self._level:
            self._pending = None
        elif self._pending is not None and (self._pending > self._level) == (wanted > self._level):
            # both minutes lie past a cut on the same side; only the nearer of the two was confirmed
            nearer = min if wanted > self._level else max
            self._level, self._pending = nearer(self._pending, wanted), None
        else:
            self._pending = wanted
        return _ORDER[self._level]

    def _wanted(self, confidence: float) -> int:
        level = self._level or 0
        up = self.rules.level(confidence - self.rules.margin)
        down = self.rules.level(confidence + self.rules.margin)
        if up > level:
            return up
        return min(down, level)
