"""The open questions about access: the time, refusals, ceilings, tokens."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from market.probe.findings import ASSUMED, MINUTE, Finding, Market, Question, judged, noted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from market.probe.client import Reply

_BURST = 80
_REST_SECONDS = 5.0
_SIGNED = "/key_permissions"
_TOKEN_TRIES = 3
"""Coinbase refuses good tokens now and then; what is refused three times is refused."""
_BEYOND = (1, 2, 3, 4, 5, 10, 30)
"""Seconds that a token's times are beyond what is allowed, growing."""
_LIFETIME = 120


async def the_time(market: Market) -> list[Finding]:
    """Whether the time needs no key; the client has asked already, the clock's offset is known."""
    offset = market.asker.connection.clock.offset.total_seconds()
    reply = await market.asker.ask("/time")
    keys = set(reply.content or {})
    is_same = reply.status == 200 and keys == {"iso", "epochSeconds", "epochMillis"}
    learned = f"{reply.shape}; this machine is {abs(offset):.1f} s {'behind' if offset > 0 else 'ahead'}"
    return [noted("time without a key", learned, "200 {epochMillis, epochSeconds, iso}", [reply], agrees=is_same)]


async def the_stranger(market: Market) -> list[Finding]:
    """What a private path says without a token."""
    reply = await market.asker.ask(_SIGNED, surface="public")
    is_same = reply.status == 401 and reply.body == "Unauthorized\n" and reply.media_type == "text/plain"
    learned = f"{reply.status} {reply.media_type} {reply.body[:30]!r}"
    return [noted("private path without a token", learned, "401 text/plain 'Unauthorized\\n'", [reply], agrees=is_same)]


async def the_bad_token(market: Market) -> list[Finding]:
    """Whether a public path minds a bad Authorization header."""
    path = f"/market/products/{market.product}"
    reply = await market.asker.ask(path, authorization="Bearer nonsense")
    learned = "ignored" if reply.status == 200 else f"refused, {reply.shape}"
    return [judged("bad token on a public path", learned, [reply], public_checks_tokens=reply.status == 401)]


async def the_fault(market: Market) -> list[Finding]:
    """What an error of the server looks like: a ticker of 1001 trades is known to make one."""
    path = f"/market/products/{market.product}/ticker"
    reply = await market.asker.ask(path, {"limit": 1001}, wanted=(500,))
    is_same = reply.status == 500 and str((reply.content or {}).get("error")) == "INTERNAL"
    learned = f"{reply.shape}{f': {reply.message[:60]}' if reply.message else ''}"
    return [noted("ticker of 1001 trades", learned, "500, error INTERNAL", [reply], agrees=is_same)]


async def the_ceiling(market: Market) -> list[Finding]:
    """What a 429 looks like, by asking until there is one: not polite, so only when told to."""
    path = f"/market/products/{market.product}"
    replies: list[Reply] = []
    began = time.monotonic()
    while len(replies) < _BURST and not (replies and replies[-1].status == 429):
        replies.append(await market.asker.ask(path, wanted=(429,), is_limited=False))
    seconds = time.monotonic() - began
    market.asker.connection.hold("public", _REST_SECONDS)
    if replies[-1].status != 429:
        learned = f"none in {len(replies)} requests within {seconds:.1f} s"
        return [noted("429", learned, "429 beyond 10 requests a second", replies[-1:], agrees=None)]
    return [the_429(replies[-1], f", after {len(replies)} requests within {seconds:.1f} s")]


def the_429(reply: Reply, when: str = "") -> Finding:
    """Compare a 429 that came with the ones of the local exchange."""
    body = "empty" if not reply.body.strip() else "json" if reply.content is not None else "html"
    wait = reply.headers.get("retry-after")
    has_rate = any(name.startswith("x-ratelimit") for name in reply.headers)
    learned = f"{body}, {f'Retry-After {wait}' if wait else 'no Retry-After'}, {'with' if has_rate else 'no'} x-ratelimit{when}"
    seconds = float(wait) if wait is not None and wait.replace(".", "", 1).isdigit() else None
    return judged("429", learned, [reply], limit_body=body, limit_retry_after=seconds, limit_headers=has_rate)


async def the_key(market: Market) -> list[Finding]:
    """Whether the key is taken with a back-dated token, and what it may do."""
    signer = market.asker.connection.signer
    reply = await _signed(market)
    rights = reply.content or {}
    kind = signer.algorithm if signer else ""
    can = ", ".join(name for name in ("can_view", "can_trade", "can_transfer") if rights.get(name)) or "nothing"
    learned = f"{kind}, nbf five seconds back: {reply.status}{f', {can}' if reply.status == 200 else ''}"
    return [noted("key", learned, "200", [reply], agrees=reply.status == 200)]


async def the_leeway(market: Market) -> list[Finding]:
    """How wrong a token's times may be: what is taken and what is refused bounds it from both sides."""
    replies: list[Reply] = []
    early = await _tolerated(market, replies, lambda now, seconds: (now + seconds, now + seconds + _LIFETIME))
    late = await _tolerated(market, replies, lambda now, seconds: (now - seconds - MINUTE, now - seconds))
    learned = f"nbf ahead {_bounds(early)}, exp past {_bounds(late)}"
    low, high = max(early[0], late[0]), min(early[1], late[1])
    question = "leeway of a token's times"
    if low >= high:
        assumed = f"token_leeway_seconds={ASSUMED.token_leeway_seconds}"
        return [noted(question, learned, assumed, replies, agrees=False)]
    return [judged(question, learned, replies, token_leeway_seconds=float(math.ceil(low)))]


def _bounds(bounds: tuple[float, float]) -> str:
    taken = f"taken by {bounds[0]:.1f} s" if bounds[0] else "never taken"
    return taken if math.isinf(bounds[1]) else f"{taken}, refused by {bounds[1]:.1f} s"


async def _tolerated(
    market: Market, replies: list[Reply], validity: Callable[[int, int], tuple[int, int]]
) -> tuple[float, float]:
    """Return by how many seconds a token's times were wrong when it was last taken, and when it was refused."""
    taken, connection = 0.0, market.asker.connection
    for seconds in _BEYOND:
        before = connection.now.timestamp()
        times = validity(int(before), seconds)
        reply = await _signed(market, times)
        replies.append(reply)
        after = connection.now.timestamp()
        # a token too early gets better while it waits, one too late gets worse
        wrong = (times[0] - before, times[0] - after) if times[0] > before else (after - times[1], before - times[1])
        if reply.status != 200:
            return taken, max(*wrong)
        taken = max(taken, min(*wrong))
    return taken, math.inf


async def _signed(market: Market, validity: tuple[int, int] | None = None) -> Reply:
    """Ask with a token of its own; several times when refused, for good tokens are too, now and then."""
    connection = market.asker.connection
    for _ in range(_TOKEN_TRIES):
        token = connection.bearer("GET", connection.path(_SIGNED), validity)
        reply = await market.asker.ask(_SIGNED, surface="private", authorization=token)
        if reply.status == 200:
            break
    return reply


async def the_nonce(market: Market) -> list[Finding]:
    """Whether a token is taken a second time."""
    connection = market.asker.connection
    for _ in range(_TOKEN_TRIES):
        token = connection.bearer("GET", connection.path(_SIGNED))
        first = await market.asker.ask(_SIGNED, surface="private", authorization=token)
        if first.status == 200:
            break
    else:
        return [noted("token sent twice", f"not taken even once: {first.shape}", "refused", [first], agrees=None)]
    again = [await market.asker.ask(_SIGNED, surface="private", authorization=token) for _ in range(_TOKEN_TRIES)]
    is_taken = any(reply.status == 200 for reply in again)
    learned = "taken again" if is_taken else f"refused, {again[-1].shape}"
    return [judged("token sent twice", learned, [first, *again], nonce_once=not is_taken)]


def the_rate_headers(replies: Sequence[Reply]) -> Finding:
    """Whether good answers tell how much of the ceiling is left."""
    good = [reply for reply in replies if reply.status == 200]
    told = next((reply for reply in good if any(name.startswith("x-ratelimit") for name in reply.headers)), None)
    learned = "none" if told is None else f"{told.asked.partition('?')[0]}: {told.headers}"
    return noted("x-ratelimit on good answers", learned, "none", [told] if told else [], agrees=told is None)


QUESTIONS = (
    Question("time", "the time", the_time),
    Question("stranger", "key permissions without a token", the_stranger),
    Question("bad token", "a product's page with a bad token", the_bad_token),
    Question("500", "ticker with limit=1001", the_fault),
    Question("key", "key permissions, signed", the_key, needs_key=True),
    Question("leeway", "key permissions with nbf ahead and with exp past by 1 to 30 s", the_leeway, needs_key=True),
    Question("nonce", "key permissions twice with one token", the_nonce, needs_key=True),
)
PROVOKED = Question("429", f"a product's page up to {_BURST} times without waiting", the_ceiling)
