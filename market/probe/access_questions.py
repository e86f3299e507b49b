"""Answer the open questions about access: the time, refusals, ceilings, tokens."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from market.probe.client import ASSUMED, MINUTE, ProbeQuestion, ProbeSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from market.probe.client import Reply

_BURST = 80
_REST_SECONDS = 5.0
_SIGNED = "/key_permissions"
_TOKEN_TRIES = 3
"""Coinbase refuses good tokens now and then; what is refused three times is refused."""
_SECONDS_OFF = (1, 2, 3, 4, 5, 10, 30)
_LIFETIME = 120


async def time_without_a_key(session: ProbeSession) -> None:
    """Whether the time needs no key; the client has asked already, the clock's offset is known."""
    offset = session.provider.connection.clock.offset.total_seconds()
    reply = await session.ask("/time")
    agrees = reply.status == 200 and set(reply.content or {}) == {"iso", "epochSeconds", "epochMillis"}
    learned = f"{reply.shape}; this machine is {abs(offset):.1f} s {'behind' if offset > 0 else 'ahead'}"
    session.note("time without a key", learned, "200 {epochMillis, epochSeconds, iso}", agrees=agrees)


async def no_token(session: ProbeSession) -> None:
    """How a private path answers without a token."""
    reply = await session.ask(_SIGNED, surface="public")
    agrees = (reply.status, reply.body, reply.media_type) == (401, "Unauthorized\n", "text/plain")
    learned = f"{reply.status} {reply.media_type} {reply.body[:30]!r}"
    session.note("private path without a token", learned, "401 text/plain 'Unauthorized\\n'", agrees=agrees)


async def bad_token(session: ProbeSession) -> None:
    """Whether a public path minds a bad Authorization header."""
    reply = await session.ask(f"/market/products/{session.product}", authorization="Bearer nonsense")
    learned = "ignored" if reply.status == 200 else f"refused, {reply.shape}"
    session.compare("bad token on a public path", learned, public_checks_tokens=reply.status == 401)


async def server_error(session: ProbeSession) -> None:
    """What an error of the server looks like: a ticker of 1001 trades is known to make one."""
    reply = await session.ask(f"/market/products/{session.product}/ticker", {"limit": 1001}, wanted=(500,))
    agrees = reply.status == 500 and str((reply.content or {}).get("error")) == "INTERNAL"
    learned = f"{reply.shape}{f': {reply.message[:60]}' if reply.message else ''}"
    session.note("ticker of 1001 trades", learned, "500, error INTERNAL", agrees=agrees)


async def provoked_429(session: ProbeSession) -> None:
    """What a 429 looks like, by asking until there is one: not polite, so only on demand."""
    began = time.monotonic()
    count, status = 0, 0
    while count < _BURST and status != 429:
        reply = await session.ask(f"/market/products/{session.product}", wanted=(429,), is_limited=False)
        count, status = count + 1, reply.status
    burst = f"{count} requests within {time.monotonic() - began:.1f} s"
    session.provider.connection.hold("public", _REST_SECONDS)
    if reply.status == 429:
        describe_429(session, reply, f", after {burst}")
    else:
        session.note("429", f"none in {burst}", "429 beyond 10 requests a second")


def describe_429(session: ProbeSession, reply: Reply, when: str) -> None:
    """Compare a 429 with those of the local exchange."""
    body = "empty" if not reply.body.strip() else "json" if reply.content is not None else "html"
    wait = reply.headers.get("retry-after")
    seconds = float(wait) if wait is not None and wait.replace(".", "", 1).isdigit() else None
    retry_after = f"Retry-After {wait}" if wait else "no Retry-After"
    learned = f"{body}, {retry_after}, {'with' if reply.has_rate else 'no'} x-ratelimit{when}"
    session.compare("429", learned, [reply], limit_body=body, limit_retry_after=seconds, limit_headers=reply.has_rate)


def met_on_the_way(session: ProbeSession, *, was_provoked: bool) -> None:
    """Whether good answers name how much of the ceiling is left; and what a 429 looked like, if one came unprovoked."""
    with_rate = next((reply for reply in session.replies if reply.status == 200 and reply.has_rate), None)
    learned = "none" if with_rate is None else f"{with_rate.request.partition('?')[0]}: {with_rate.headers}"
    session.note(
        "x-ratelimit on good answers", learned, "none", [with_rate] if with_rate else [], agrees=with_rate is None
    )
    limited = next((reply for reply in session.replies if reply.status == 429), None)
    if limited is not None and not was_provoked:
        describe_429(session, limited, ", met on the way")


async def key_rights(session: ProbeSession) -> None:
    """Whether the key is taken with a back-dated token, and what it may do."""
    signer = session.provider.connection.signer
    reply, _ = await _signed(session)
    rights = reply.content or {}
    can = ", ".join(name for name in ("can_view", "can_trade", "can_transfer") if rights.get(name)) or "nothing"
    allowed = f", {can}" if reply.status == 200 else ""
    learned = f"{signer.algorithm if signer else ''}, nbf five seconds back: {reply.status}{allowed}"
    session.note("key", learned, "200", agrees=reply.status == 200)


async def token_leeway(session: ProbeSession) -> None:
    """How wrong a token's times may be: what is taken and what is refused bounds it from both sides."""
    early = await _tolerated(session, lambda now, off: (now + off, now + off + _LIFETIME))
    late = await _tolerated(session, lambda now, off: (now - off - MINUTE, now - off))
    question, learned = "leeway of a token's times", f"nbf ahead {_bounds(early)}, exp past {_bounds(late)}"
    low, high = max(early[0], late[0]), min(early[1], late[1])
    if low < high:
        session.compare(question, learned, token_leeway_seconds=float(math.ceil(low)))
    else:
        session.note(question, learned, f"token_leeway_seconds={ASSUMED.token_leeway_seconds}", agrees=False)


def _bounds(bounds: tuple[float, float]) -> str:
    taken = f"taken by {bounds[0]:.1f} s" if bounds[0] else "never taken"
    return taken if math.isinf(bounds[1]) else f"{taken}, refused by {bounds[1]:.1f} s"


async def _tolerated(session: ProbeSession, validity: Callable[[int, int], tuple[int, int]]) -> tuple[float, float]:
    """Return by how many seconds a token's times were wrong when it was last taken, and when it was refused."""
    taken, connection = 0.0, session.provider.connection
    for seconds in _SECONDS_OFF:
        before = connection.now.timestamp()
        times = validity(int(before), seconds)
        reply, _ = await _signed(session, times)
        after = connection.now.timestamp()
        # a token too early gets better while it waits, one too late gets worse
        wrong = (times[0] - before, times[0] - after) if times[0] > before else (after - times[1], before - times[1])
        if reply.status != 200:
            return taken, max(wrong)
        taken = max(taken, min(wrong))
    return taken, math.inf


async def _signed(session: ProbeSession, validity: tuple[int, int] | None = None) -> tuple[Reply, str]:
    """Ask with a token of its own, several times when refused, for good tokens are too; return the last token as well."""
    connection = session.provider.connection
    for _ in range(_TOKEN_TRIES):
        token = connection.bearer("GET", connection.path(_SIGNED), validity)
        reply = await session.ask(_SIGNED, surface="private", authorization=token)
        if reply.status == 200:
            break
    return reply, token


async def token_sent_twice(session: ProbeSession) -> None:
    """Whether a token is taken a second time."""
    first, token = await _signed(session)
    if first.status != 200:
        session.note("token sent twice", f"not taken even once: {first.shape}", "refused")
        return
    again = [await session.ask(_SIGNED, surface="private", authorization=token) for _ in range(_TOKEN_TRIES)]
    is_taken = any(reply.status == 200 for reply in again)
    learned = "taken again" if is_taken else f"refused, {again[-1].shape}"
    session.compare("token sent twice", learned, nonce_once=not is_taken)


_LEEWAY = "key permissions with nbf ahead and with exp past by 1 to 30 s"
QUESTIONS = (
    ProbeQuestion("time", "the time", time_without_a_key),
    ProbeQuestion("stranger", "key permissions without a token", no_token),
    ProbeQuestion("bad token", "a product's page with a bad token", bad_token),
    ProbeQuestion("500", "ticker with limit=1001", server_error),
    ProbeQuestion("key", "key permissions, signed", key_rights, needs_key=True),
    ProbeQuestion("leeway", _LEEWAY, token_leeway, needs_key=True),
    ProbeQuestion("nonce", "key permissions twice with one token", token_sent_twice, needs_key=True),
)
PROVOKED = ProbeQuestion("429", f"a product's page up to {_BURST} times without waiting", provoked_429)
