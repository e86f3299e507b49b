"""What must hold before the runtime starts; every refusal names the command that repairs it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import NoPromotedModelError, PreflightError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.settings import Settings
    from runtime.candle_feed import Answers
    from runtime.loaded_models import ProductModels

OLDEST_CANDLE = timedelta(minutes=60)
"""Beyond this the dense grid starts a new segment, so nothing could be scored for hours."""


def check_before_start(settings: Settings, mode: str, scorers: Mapping[str, ProductModels]) -> None:
    """Refuse a mode that lacks what it needs.

    Raises:
        NoPromotedModelError: no coin has a model, and the mode is not shadow.
        PreflightError: live without an alert target.
    """
    if mode != "shadow" and not any(loaded.models for loaded in scorers.values()):
        names = ", ".join(scorers)
        msg = f"no model is promoted for {names}; run: make train, then make evaluate, or start with --mode shadow to watch without one"
        raise NoPromotedModelError(msg)
    if mode == "live" and not settings.alert_targets:
        msg = "live mode has nobody to alert; set ALERT_URLS (for example tgram://bottoken/chatid), then run: desk alerts test"
        raise PreflightError(msg)


def check_candles(history: Answers, products: Sequence[str], now: datetime) -> dict[str, datetime]:
    """Return the last minute with a candle of each product.

    Raises:
        PreflightError: a product could not be asked, or has no candle recent enough.
    """
    last: dict[str, datetime] = {}
    for product in products:
        if product in history.failures:
            msg = f"{product} could not be asked for: {history.failures[product]}"
            raise PreflightError(msg)
        known = history.candles.get(product, {})
        newest = max(known, default=None)
        if newest is None or now - newest > OLDEST_CANDLE:
            seen = "none at all" if newest is None else f"the last one of {newest:%Y-%m-%d %H:%M} UTC"
            msg = f"{product} has no fresh candles ({seen}, now is {now:%Y-%m-%d %H:%M}); check the exchange with: desk doctor, or leave {product} out of PRODUCTS"
            raise PreflightError(msg)
        last[product] = newest
    return last
