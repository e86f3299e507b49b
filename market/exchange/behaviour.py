"""Define the switches of the local exchange: the points at which reports of the real one differ, or nobody has measured.

The defaults are what the local exchange assumes of Coinbase; ``desk probe coinbase`` compares them with the real one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import ConfigError
from market.exchange.faults import LimitBody  # noqa: TC001  # pydantic looks it up at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

Status = Literal[200, 400, 404]


class Behaviour(BaseModel):
    """How the local exchange behaves; changed by ``--behaviour NAME=VALUE`` or POST /_control/behaviour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    end_inclusive: bool = True
    cap: int = 350
    cap_rule: Literal["buckets", "span"] = "buckets"
    unknown_candles_status: Literal[400, 404] = 400
    before_listing_status: Status = 200
    """200 is an empty list."""
    delisted: tuple[str, ...] = ()
    """Products whose page says so."""
    delisted_candles_status: Status = 200
    """200 means their candles are still served."""
    limit_keeps: Literal["newest", "oldest"] = "newest"
    """Which rows a ``limit`` smaller than the window leaves."""
    window_required: bool = True
    """Without ``start`` and ``end``: refused, or the newest candles."""
    usdc_aliases: bool = True
    """``BTC-USDC`` is another name of ``BTC-USD``, with the same candles."""
    limit_body: LimitBody = "html"
    limit_retry_after: float | None = None
    limit_headers: bool = False
    public_checks_tokens: bool = False
    """Whether a public path refuses a bad Authorization header."""
    token_leeway_seconds: float = 0.0
    """How long before ``nbf`` and after ``exp`` a token is still taken."""
    nonce_once: bool = True
    """Whether a token is refused the second time."""
    published_after_seconds: float = 0.0
    """A closed minute has no row before this."""
    settles_after_seconds: float = 0.0
    """Until so long after its close a minute's row lacks its last trade."""


def buckets(shape: Behaviour, start: int, end: int, step: int) -> tuple[int, int]:
    """Return the half-open range of buckets that a request for ``[start, end]`` asks for.

    Args:
        shape: Whether the end counts.
        start: Unix seconds; a bucket that began before it is not asked for.
        end: Unix seconds.
        step: Seconds of a bucket.
    """
    after = end // step + 1 if shape.end_inclusive else -(-end // step)
    return -(-start // step), after


def too_wide(shape: Behaviour, start: int, end: int, step: int) -> bool:
    """Return whether a request for ``[start, end]`` asks for more candles than one answer may hold."""
    first, after = buckets(shape, start, end, step)
    return after - first > shape.cap if shape.cap_rule == "buckets" else end - start >= shape.cap * step


def parse_behaviour(words: Sequence[str]) -> Behaviour:
    """Read ``NAME=VALUE`` words, as they are typed or printed by ``desk probe``.

    Raises:
        ConfigError: a name or value that is none; names those there are.
    """
    switches: dict[str, object] = {}
    for word in words:
        name, _, text = word.partition("=")
        switches[name] = tuple(text.split(",")) if name == "delisted" else _value(text)
    try:
        return Behaviour.model_validate(switches)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        msg = f"--behaviour {name}: {fault['msg']}; the switches are {', '.join(Behaviour.model_fields)}"
        raise ConfigError(msg) from None


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
