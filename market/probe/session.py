"""Ask an exchange single questions, keep what came back, and compare it with what the local exchange assumes.

Where an answer differs the finding names the switch that makes the local exchange behave the same; a switch is never
guessed, it follows from the answers.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from core.errors import ExchangeUnavailableError
from market.exchange.behaviour import Behaviour
from market.providers.base import TryAgainError
from market.providers.coinbase_wire import json_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from market.providers.coinbase import CoinbaseProvider
    from market.providers.coinbase_connection import Surface

    Rows = dict[int, tuple[str, ...]]

Verdict = Literal["agrees", "differs", "open"]

MINUTE, HOUR, DAY = 60, 3600, 86_400
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
    def rows(self) -> Rows:
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


class ProbeAnswer(NamedTuple):
    """What the replies to a question say."""

    learned: str
    agrees: bool | None = None
    """Whether it is what the local exchange does; None where the replies do not settle it, or ``values`` do."""
    values: tuple[object, ...] = ()
    """What the question's switches have to be set to for the same behaviour."""
    evidence: Sequence[Reply] | None = None
    """Given where it is not what was answered since the question before."""


@dataclass(frozen=True, slots=True)
class ProbeQuestion:
    """One open point: the requests it takes, how their answers are read, and what the local exchange assumes."""

    name: str
    requests: str
    """For ``--list``."""
    title: str
    """That of the finding; ``{product}`` is filled in."""
    ask: Callable[[ProbeSession], Awaitable[ProbeAnswer | None]]
    """None is answered where an earlier answer has made the question void."""
    assumed: str | tuple[str, ...]
    """What the local exchange does: in words, or the fields of `Behaviour` that the answers settle."""
    needs_key: bool = False


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


@dataclass(slots=True)
class ProbeSession:
    """What the questions share: whom to ask, about what, an hour whose candles are known, and what was learned on the way."""

    provider: CoinbaseProvider
    product: str
    watch_seconds: float = 0.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    replies: list[Reply] = field(default_factory=list)
    findings: list[ProbeFinding] = field(default_factory=list)
    now: int = 0
    """The exchange's present when the probe began, unix seconds."""
    start: int = 0
    """The start of an hour that is long over."""
    hour: Rows = field(default_factory=dict)
    """Its candles, which other answers are compared with."""
    end_inclusive: bool = True
    named_cap: int | None = None
    """The number that the refusal of a wide window names; None where such a window is answered."""
    listed: Reply | None = None

    async def run(
        self, questions: Sequence[ProbeQuestion], on_question: Callable[[str], None] = lambda _: None
    ) -> list[ProbeFinding]:
        """Learn the time, fetch the hour, answer ``questions`` in their order, then close the provider.

        Raises:
            ProviderError: the exchange cannot be asked, or the key not be read.
        """
        try:
            self.now = int((await self.provider.server_time()).timestamp())
            self.start = self.now // DAY * DAY - DAY
            self.hour = (await self.candles(self.start, self.start + HOUR)).rows
            for question in questions:
                on_question(question.name)
                before = len(self.replies)
                if (answer := await question.ask(self)) is not None:
                    evidence = self.replies[before:] if answer.evidence is None else answer.evidence
                    self.findings.append(_finding(question, answer, evidence, self.product))
        finally:
            await self.provider.aclose()
        return self.findings

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


def _finding(question: ProbeQuestion, answer: ProbeAnswer, evidence: Sequence[Reply], product: str) -> ProbeFinding:
    """Compare what was learned with what the local exchange assumes."""
    assumed = {} if isinstance(question.assumed, str) else {name: getattr(ASSUMED, name) for name in question.assumed}
    learned = dict(zip(assumed, answer.values, strict=True)) if answer.values else {}
    changed = {name: value for name, value in learned.items() if value != assumed[name]}
    agrees = not changed if answer.values else answer.agrees
    verdict: Verdict = "open" if agrees is None else "agrees" if agrees else "differs"
    setting = " ".join(f"--behaviour {name}={_written(value)}" for name, value in changed.items())
    return ProbeFinding(
        question.title.format(product=product),
        answer.learned,
        ", ".join(f"{name}={_written(value)}" for name, value in assumed.items()) or str(question.assumed),
        verdict,
        (setting or "no switch does this") if verdict == "differs" else "",
        [*map(str, evidence)],
    )


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
