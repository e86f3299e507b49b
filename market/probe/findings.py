"""What a question is, and how its answer is held against what the local exchange assumes.

Where an answer differs the finding names the switch that makes the local exchange behave the same; a switch is never
guessed, it follows from the answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from market.exchange.behaviour import Behaviour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from market.probe.client import Asker, Reply

MINUTE = 60
DAY = 86_400
ASSUMED = Behaviour()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question taught."""

    question: str
    learned: str
    assumed: str
    verdict: Literal["agrees", "differs", "open"]
    """``open`` where the answers do not settle it."""
    setting: str = ""
    """What makes the local exchange do the same."""
    evidence: Sequence[str] = ()


@dataclass(slots=True)
class Market:
    """What the questions share: whom to ask, about what, and when it is there."""

    asker: Asker
    product: str
    now: int
    """The exchange's present when the probe began, unix seconds."""
    present: Callable[[], Awaitable[float]]
    """Asks for it."""
    start: int = 0
    """The start of an hour that is long over."""
    hour: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Its candles."""
    end_inclusive: bool = True
    watch_seconds: float = 0.0

    async def look(self) -> None:
        """Fetch the hour that other answers are held against."""
        self.start = self.now // DAY * DAY - DAY
        self.hour = (await self.asker.candles(self.product, self.start, self.start + 60 * MINUTE)).rows


@dataclass(frozen=True, slots=True)
class Question:
    """One open point: the requests it takes, and who answers it."""

    name: str
    asks: str
    """The requests, for ``--list``."""
    ask: Callable[[Market], Awaitable[list[Finding]]]
    needs_key: bool = False


def judged(question: str, learned: str, evidence: Iterable[Reply], **fields: Any) -> Finding:  # noqa: ANN401  # any switch
    """Compare what was learned of the switches in ``fields`` with what the local exchange assumes."""
    assumed = {name: getattr(ASSUMED, name) for name in fields}
    changed = {name: value for name, value in fields.items() if value != assumed[name]}
    setting = " ".join(f"--behaviour {name}={_written(value)}" for name, value in changed.items())
    shown = ", ".join(f"{name}={_written(value)}" for name, value in assumed.items())
    return Finding(question, learned, shown, "differs" if changed else "agrees", setting, _lines(evidence))


def noted(question: str, learned: str, assumed: str, evidence: Iterable[Reply], *, agrees: bool | None) -> Finding:
    """Note a finding that no switch covers; None leaves it open."""
    verdict: Literal["agrees", "differs", "open"] = "open" if agrees is None else "agrees" if agrees else "differs"
    setting = "no switch does this" if verdict == "differs" else ""
    return Finding(question, learned, assumed, verdict, setting, _lines(evidence))


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _lines(evidence: Iterable[Reply]) -> list[str]:
    return [f"{reply.asked} -> {reply.shape}{_count(reply)}" for reply in evidence]


def _count(reply: Reply) -> str:
    return f", {len(reply.rows)} rows" if reply.status == 200 and "candles" in (reply.content or {}) else ""
