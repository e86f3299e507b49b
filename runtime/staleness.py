"""Notice a product of which no candle comes any more, and say so once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from core.candles import MINUTE
from runtime.risk.guardrails import RiskEvent

if TYPE_CHECKING:
    from datetime import datetime

    from runtime.decision import MinuteInput

STALE_ALARM = timedelta(minutes=10)
"""A product without a candle for so long is an alarm, once until it has one again."""


@dataclass(slots=True)
class StalenessWatch:
    """When each product had its last candle, and of which people were told."""

    last_candle: dict[str, datetime]
    _alarmed: set[str] = field(default_factory=set)

    def watch(self, minute: MinuteInput, silence: str) -> list[RiskEvent]:
        """Return the alarms of this minute; ``silence`` says in words who did not answer and why."""
        alarms = []
        for product, seen in minute.products.items():
            if product not in self.last_candle:
                continue  # watched no longer, and here for an open position's sake
            if seen.candle is not None:
                self.last_candle[product] = minute.open_time
                self._alarmed.discard(product)
            elif product not in self._alarmed and minute.open_time - self.last_candle[product] >= STALE_ALARM:
                self._alarmed.add(product)
                since = f"{product}: the last candle is of {self.last_candle[product]:%Y-%m-%d %H:%M} UTC"
                detail = f"{since}; check the exchange and the network{silence}"
                alarms.append(RiskEvent(minute.open_time + MINUTE, "stale", detail, product))
        return alarms
