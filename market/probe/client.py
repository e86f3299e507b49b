"""Ask an exchange single questions, keep what came back, and compare it with what the local exchange assumes.

Where an answer differs the finding names the switch that makes the local exchange behave the same; a switch is never
guessed, it follows from the answers.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from core.errors import ExchangeUnavailableError
from market.exchange.behaviour import Behaviour
from market.providers.base import TryAgainError
from market.providers.bounded_body import json_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from market.providers.coinbase import CoinbaseProvider
    from market.providers.coinbase_connection import Surface

Verdict = Literal["agrees", "differs", "open"]

MINUTE = 60
DAY = 86_400
ASSUMED = Behaviour()
_TRIES = 5
_HEADERS = ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, as far as it is of interest; never the request's headers."""

    request: str
    status: int
    media_type: str
    headers: dict[str, str]
    content: dict[str, Any] | None
    body: str

    @property
    def rows(self) -> dict[int, tuple[str, ...]]:
        """The candles by their start, as the exchange wrote them; empty where there are none."""
        names = ("open", "high", "low", "close", "volume")
        rows = (self.content or {}).get("candles") or []
        return {int(row["start"]): tuple(str(row[name]) for name in names) for row in rows}

    @property
    def message(self) -> str:
        """The text of an error, empty where it is no JSON."""
        content = self.content or {}
        return str(content.get("message") or content.get("error_details") or "").strip()

    @property
    def shape(self) -> str:
        """Status and form in a few words: ``400 {error, error_details, message}``."""
        if self.content is not None:
            return f"{self.status} {{{', '.join(sorted(self.content))}}}"
        return f"{self.status} {self.media_type or 'no type'}, {f'{len(self.body)} bytes' if self.body else 'empty'}"

    @property
    def has_rate(self) -> bool:
        """Whether the headers name how much of the ceiling is left."""
        return any(name.startswith("x-ratelimit") for name in self.headers)

    def __str__(self) -> str:
        """Return the line of evidence: request, shape, number of candles."""
        is_page = self.status == 200 and "candles" in (self.content or {})
        return f"{self.request} -> {self.shape}" + (f", {len(self.rows)} rows" if is_page else "")


@dataclass(frozen=True, slots=True)
class ProbeFinding:
    """What one question taught."""

    question: str
    learned: str
    assumed: str
    verdict: Verdict
    """``open`` where the answers do not settle it."""
    setting: str = ""
    """What makes the local exchange do the same."""
    evidence: Sequence[str] = ()


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(slots=True)
class ProbeSession:
    """What the questions share: whom to ask, about what, and an hour whose candles are known."""

    provider: CoinbaseProvider
    product: str
    watch_seconds: float = 0.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    replies: list[Reply] = field(default_factory=list)
    findings: list[ProbeFinding] = field(default_factory=list)
    _evident: int = 0
    """How many replies belong to findings already made."""
    now: int = 0
    """The exchange's present when the probe began, unix seconds."""
    start: int = 0
    """The start of an hour that is long over."""
    hour: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Its candles, which other answers are compared with."""
    end_inclusive: bool = True

    async def begin(self) -> None:
        """Learn the time, and fetch the hour."""
        self.now = int((await self.provider.server_time()).timestamp())
        self.start = self.now // DAY * DAY - DAY
        self.hour = (await self.candles(self.start, self.start + 60 * MINUTE)).rows
        self._evident = len(self.replies)

    def compare(self, question: str, learned: str, evidence: Sequence[Reply] | None = None, **switches: object) -> None:
        """Compare what was learned of the local exchange's ``switches`` with what they are set to."""
        assumed = {name: getattr(ASSUMED, name) for name in switches}
        changed = {name: value for name, value in switches.items() if value != assumed[name]}
        setting = " ".join(f"--behaviour {name}={_written(value)}" for name, value in changed.items())
        shown = ", ".join(f"{name}={_written(value)}" for name, value in assumed.items())
        self.note(question, learned, shown, evidence, agrees=not changed, setting=setting)

    def note(  # the columns of the printed table
        self,
        question: str,
        learned: str,
        assumed: str,
        evidence: Sequence[Reply] | None = None,
        *,
        agrees: bool | None = None,
        setting: str = "no switch does this",
    ) -> None:
        """Make a finding; its evidence is what was answered since the one before, unless it is given.

        Args:
            question: What was asked.
            learned: What the answers say.
            assumed: What the local exchange does.
            evidence: The answers.
            agrees: Whether the two are the same; None where the answers do not settle it.
            setting: What makes the local exchange do the same where it differs.
        """
        replies = self.replies[self._evident :] if evidence is None else evidence
        self._evident = len(self.replies)
        verdict: Verdict = "open" if agrees is None else "agrees" if agrees else "differs"
        shown = setting if verdict == "differs" else ""
        self.findings.append(ProbeFinding(question, learned, assumed, verdict, shown, [*map(str, replies)]))

    async def ask(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        surface: Surface = "public",
        authorization: str | None = None,
        wanted: Collection[int] = (),
        is_limited: bool = True,
    ) -> Reply:
        """Return the first answer that is neither 429 nor a fault of the server, or whose status is ``wanted``.

        Raises:
            ExchangeUnavailableError: none of five was.
        """
        texts = {name: str(value) for name, value in (query or {}).items()}
        shown = "&".join(f"{name}={value}" for name, value in texts.items())
        for attempt in range(_TRIES):
            try:
                response = await self.provider.connection.send(
                    path, texts, surface, authorization=authorization, is_limited=is_limited
                )
            except TryAgainError as error:
                cause = str(error)
            else:
                reply = Reply(
                    f"GET {path}{'?' if shown else ''}{shown}",
                    response.status_code,
                    response.headers.get("content-type", "").partition(";")[0],
                    {name: response.headers[name] for name in _HEADERS if name in response.headers},
                    json_object(response.content),
                    response.text,
                )
                self.replies.append(reply)
                is_faulty = reply.status == 429 or reply.status >= 500 or (reply.status == 200 and not reply.content)
                if reply.status in wanted or not is_faulty:
                    return reply
                cause = reply.shape
            await self.sleep(2.0**attempt)
        msg = f"GET {path}: no useful answer in {_TRIES} tries, the last: {cause}; wait for the exchange, then probe again"
        raise ExchangeUnavailableError(msg)

    async def candles(self, start: int, end: int, product: str = "", **more: object) -> Reply:
        """Ask the public twin for the candles of ``[start, end]``, unix seconds; ``more`` are further parameters."""
        query = {"start": start, "end": end, "granularity": "ONE_MINUTE", **more}
        return await self.ask(f"/market/products/{product or self.product}/candles", query)


@dataclass(frozen=True, slots=True)
class ProbeQuestion:
    """One open point: the requests it takes, and who answers it."""

    name: str
    requests: str
    """For ``--list``."""
    ask: Callable[[ProbeSession], Awaitable[None]]
    needs_key: bool = False
