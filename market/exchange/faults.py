"""Spoil answers on demand, by count or by probability, as a real exchange does on a bad day."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.responses import Response

from core.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from market.exchange.simulated_market import CandleRows

AnswerFault = Literal["429", "500", "502", "401", "reset", "slow", "html", "truncated"]
DataFault = Literal["duplicates", "disorder", "outside", "revised", "late_hole"]
LimitBody = Literal["html", "json", "empty"]
KINDS = get_args(AnswerFault) + get_args(DataFault)

HTML = (
    "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head>"
    "<body><h1>Please wait</h1>" + "<p>Checking your browser before you continue.</p>" * 40 + "</body></html>"
)
_LIMIT_JSON = '{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}'


class FaultPlan(BaseModel):
    """One kind of fault, and how often: the next ``count`` answers, or each one with ``probability``."""

    model_config = ConfigDict(extra="forbid")

    kind: AnswerFault | DataFault
    count: int = Field(0, ge=0)
    probability: float = Field(0.0, ge=0, le=1)
    path: str = "candles"
    """Only requests whose path contains this."""
    body: LimitBody = "html"
    retry_after: float | None = None
    seconds: float = 1.0
    """How long a slow body takes."""

    @model_validator(mode="after")
    def _count_or_probability(self) -> FaultPlan:
        if (self.count > 0) == (self.probability > 0):
            msg = "give either a count or a probability above 0"
            raise ValueError(msg)
        return self


class Faults:
    """The faults now planned, and how many of each have happened."""

    def __init__(self, seed: int = 0) -> None:
        """Plan nothing."""
        self._random = random.Random(seed)  # noqa: S311  # which answers fail must be reproducible
        self._plans: list[FaultPlan] = []
        self.happened: Counter[str] = Counter()
        self.untrue: list[tuple[str, str, int]] = []
        """Kind, product and epoch minute of every candle that was wrong, or left out, in one answer."""

    def plan(self, entries: object) -> list[str]:
        """Add plans given as JSON; return the kinds now planned.

        Raises:
            ConfigError: an entry is wrong; nothing is added.
        """
        if not isinstance(entries, list):
            msg = 'send {"faults": [{"kind": "429", "count": 3}]}'
            raise ConfigError(msg)
        try:
            plans = [FaultPlan.model_validate(entry) for entry in entries]
        except ValidationError as error:
            msg = f"{error.errors()[0]['msg']}; the kinds are {', '.join(KINDS)}"
            raise ConfigError(msg) from None
        self._plans += plans
        return [plan.kind for plan in self._plans]

    def clear(self) -> None:
        """Plan nothing any more."""
        self._plans.clear()

    def pick(self, path: str) -> FaultPlan | None:
        """Return the fault that this request meets, if any, and count it."""
        for plan in self._plans:
            if plan.path in path and (plan.count > 0 or self._random.random() < plan.probability):
                if plan.count:
                    plan.count -= 1
                    self._plans = [left for left in self._plans if left.count or left.probability]
                self.happened[plan.kind] += 1
                return plan
        return None

    def note(self, plan: FaultPlan, rows: CandleRows, sent: int) -> None:
        """Remember which of the ``sent`` newest rows the fault makes untrue, for tests that compare a store with the truth."""
        if plan.kind in ("revised", "late_hole") and sent:
            # of rows sent newest first the fault takes the middle one, as in `spoil_rows`
            self.untrue.append((plan.kind, rows.product, int(rows.minute_N[::-1][sent // 2])))


@dataclass(frozen=True, slots=True)
class ExchangeAnswer:
    """What the exchange is about to send."""

    body: str
    status: int = 200
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def response(self) -> Response:
        """Return it for the wire."""
        return Response(self.body, self.status, dict(self.headers), self.media_type)


class SlowResponse(Response):
    """Sends half the body, waits, sends the rest; or never sends it."""

    def __init__(self, answer: ExchangeAnswer, seconds: float | None) -> None:
        """Wait for ``seconds`` in the middle; None ends there, and the server cuts the connection."""
        super().__init__(answer.body, answer.status, dict(answer.headers), answer.media_type)
        self._seconds = seconds

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Send the answer badly."""
        half, body = len(self.body) // 2, bytes(self.body)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        if self._seconds is not None:
            await asyncio.sleep(self._seconds)
            await send({"type": "http.response.body", "body": body[half:], "more_body": False})


def too_many(
    body: LimitBody = "html", retry_after: float | None = None, headers: dict[str, str] | None = None
) -> ExchangeAnswer:
    """Return a 429 with one of the three bodies seen in the wild."""
    extra = dict(headers or {})
    if retry_after is not None:
        extra["retry-after"] = f"{retry_after:g}"
    texts = {"html": (HTML, "text/html"), "json": (_LIMIT_JSON, "application/json"), "empty": ("", "text/plain")}
    text, media_type = texts[body]
    return ExchangeAnswer(text, 429, media_type, tuple(extra.items()))


def unauthorized() -> ExchangeAnswer:
    """Return Coinbase's 401: plain text, not JSON."""
    return ExchangeAnswer("Unauthorized\n", 401, "text/plain")


def error(status: int, name: str, details: str) -> ExchangeAnswer:
    """Return an error in Coinbase's shape, with the details twice."""
    quoted = details.replace("\\", "\\\\").replace('"', '\\"')
    return ExchangeAnswer(f'{{"error":"{name}","error_details":"{quoted}","message":"{quoted}"}}', status)


def spoil(answer: ExchangeAnswer, plan: FaultPlan) -> Response:
    """Return ``answer`` with an answer fault done to it."""
    replacements: dict[str, Any] = {
        "429": too_many(plan.body, plan.retry_after),
        "500": error(500, "INTERNAL", "internal error"),
        "502": ExchangeAnswer(HTML, 502, "text/html"),
        "401": unauthorized(),
        "html": ExchangeAnswer(HTML, 200, "text/html"),
        "truncated": replace(answer, body=answer.body[: len(answer.body) // 2]),
    }
    if plan.kind in replacements:
        response: Response = replacements[plan.kind].response()
        return response
    return SlowResponse(answer, plan.seconds if plan.kind == "slow" else None)


def spoil_rows(lines: list[str], rows: CandleRows, plan: FaultPlan) -> list[str]:
    """Return the rows of a candle answer, newest first, with a data fault done to them."""
    if not lines:
        return lines
    middle = len(lines) // 2
    if plan.kind == "duplicates":
        return [line for line in lines for _ in range(2)]
    if plan.kind == "disorder":
        return lines[middle:] + lines[:middle]
    if plan.kind == "outside":
        late, early = int(rows.minute_N[-1]) + 400, int(rows.minute_N[0]) - 400
        return [_moved(lines[0], rows.minute_N[-1], late), *lines, _moved(lines[-1], rows.minute_N[0], early)]
    if plan.kind == "revised":
        return [line.replace('"volume":"', '"volume":"1', 1) if at == middle else line for at, line in enumerate(lines)]
    return lines[:middle] + lines[middle + 1 :]


def _moved(line: str, minute: int, to: int) -> str:
    return line.replace(f'"start":"{minute * 60}"', f'"start":"{to * 60}"')
