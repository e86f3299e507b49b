"""Name the questions that Coinbase's documentation leaves open: a table of requests, readings and assumptions."""

from __future__ import annotations

import math
import re
import time
from decimal import Decimal
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Literal

from core.candles import minute_start
from market.exchange.behaviour import Behaviour, too_wide
from market.probe.session import ASSUMED, DAY, HOUR, MINUTE, ProbeAnswer, ProbeQuestion, ProbeSession
from market.providers.credentials import LIFETIME_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from market.probe.session import Reply, Rows

LOOK_SECONDS = 10.0
_UNKNOWN, _LATE, _PAGE = "NOPE-USD", "BNB-USD", "/market/products/{product}"
_LATE_WINDOW = 1_717_372_800  # 2024-06-03: more than a year before BNB-USD was listed
_WIDE_MINUTES = 10_000
_FINEST = Decimal("0.00000001")
_NUMBER = re.compile(r"\d+(\.\d+)?([eE]-?\d+)?")
_DAILY_WINDOW = 290 * DAY  # below the cap of 350 candles, whatever their size
_BURST, _REST_SECONDS, _SIGNED = 80, 5.0, "/key_permissions"
_TOKEN_TRIES = 3  # Coinbase refuses good tokens now and then; what is refused three times is refused
_SECONDS_OFF = (1, 2, 3, 4, 5, 10, 30)


def _once(
    path: str,
    read: Callable[[ProbeSession, Reply], ProbeAnswer],
    query: Callable[[ProbeSession], Mapping[str, object]] = lambda _: {},
    **options: Any,  # noqa: ANN401  # those of `ProbeSession.ask`
) -> Callable[[ProbeSession], Awaitable[ProbeAnswer]]:
    """Return how a question of one request is asked: ``{product}`` stands in ``path``, ``read`` says what was learned."""

    async def ask(session: ProbeSession) -> ProbeAnswer:
        return read(session, await session.ask(path.format(product=session.product), query(session), **options))

    return ask


def _hour(session: ProbeSession) -> Mapping[str, object]:
    return {"start": session.start, "end": session.start + HOUR, "granularity": "ONE_MINUTE"}


def _with_message(reply: Reply) -> str:
    return f"{reply.shape}{f': {reply.message[:70]}' if reply.message else ''}"


def _time(session: ProbeSession, reply: Reply) -> ProbeAnswer:
    offset = session.provider.connection.clock.offset.total_seconds()
    agrees = reply.status == 200 and set(reply.content or {}) == {"iso", "epochSeconds", "epochMillis"}
    return ProbeAnswer(
        f"{reply.shape}; this machine is {abs(offset):.1f} s {'behind' if offset > 0 else 'ahead'}", agrees
    )


async def _signed(session: ProbeSession, validity: tuple[int, int] | None = None) -> tuple[Reply, str]:
    """Ask with a token of its own, several times when refused, for good tokens are too; return the last token as well."""
    connection = session.provider.connection
    for _ in range(_TOKEN_TRIES):
        token = connection.bearer("GET", connection.path(_SIGNED), validity)
        reply = await session.ask(_SIGNED, surface="private", authorization=token)
        if reply.status == 200:
            break
    return reply, token


async def _key(session: ProbeSession) -> ProbeAnswer:
    signer = session.provider.connection.signer
    reply, _ = await _signed(session)
    rights = reply.content or {}
    can = ", ".join(name for name in ("can_view", "can_trade", "can_transfer") if rights.get(name)) or "nothing"
    allowed = f", {can}" if reply.status == 200 else ""
    learned = f"{signer.algorithm if signer else ''}, nbf five seconds back: {reply.status}{allowed}"
    return ProbeAnswer(learned, reply.status == 200)


async def _leeway(session: ProbeSession) -> ProbeAnswer:
    """How wrong a token's times may be: what is taken and what is refused bounds it from both sides."""
    early = await _tolerated(session, lambda now, off: (now + off, now + off + LIFETIME_SECONDS))
    late = await _tolerated(session, lambda now, off: (now - off - MINUTE, now - off))
    low, high = max(early[0], late[0]), min(early[1], late[1])
    learned = f"nbf ahead {_bounds(early)}, exp past {_bounds(late)}"
    return ProbeAnswer(learned, agrees=False, values=(float(math.ceil(low)),) if low < high else ())


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


async def _sent_twice(session: ProbeSession) -> ProbeAnswer:
    first, token = await _signed(session)
    if first.status != 200:
        return ProbeAnswer(f"not taken even once: {first.shape}")
    again = [await session.ask(_SIGNED, surface="private", authorization=token) for _ in range(_TOKEN_TRIES)]
    is_taken = any(reply.status == 200 for reply in again)
    return ProbeAnswer("taken again" if is_taken else f"refused, {again[-1].shape}", values=(not is_taken,))


async def _window_end(session: ProbeSession) -> ProbeAnswer:
    inner = [start for start in session.hour if session.start < start < session.start + HOUR]
    if not inner:
        return ProbeAnswer(f"{session.product} has no candle that day")
    # asked of a bucket that is known to be there: a missing one proves nothing about the rule
    last = max(inner)
    reply = await session.candles(last - 10 * MINUTE, last)
    session.end_inclusive = last in reply.rows
    learned = f"the bucket at end is {'told' if session.end_inclusive else 'left out'}"
    return ProbeAnswer(learned, values=(session.end_inclusive,))


async def _window_start(session: ProbeSession) -> ProbeAnswer:
    known = [start for start in session.hour if start < session.start + 50 * MINUTE]
    if not known:
        return ProbeAnswer(f"{session.product} has no candle that day")
    reply = await session.candles(max(known) + 20, max(known) + 10 * MINUTE)
    is_down = max(known) in reply.rows
    return ProbeAnswer(f"rounded {'down' if is_down else 'up'} to a minute", not is_down)


async def _wide_window(session: ProbeSession) -> ProbeAnswer | None:
    wide = await session.candles(session.start - _WIDE_MINUTES * MINUTE, session.start)
    if wide.status == 200:
        return None
    named = re.search(r"less than (\d+)", wide.message)
    session.named_cap = int(named.group(1)) if named else ASSUMED.cap
    keys = {"error", "error_details", "message"}
    agrees = wide.status == 400 and set(wide.content or {}) == keys and "number of candles" in wide.message
    return ProbeAnswer(f"{wide.shape}: {wide.message[:90]}", agrees)


async def _cap(session: ProbeSession) -> ProbeAnswer:
    """Where the edge of the cap lies, by windows around the number that the refusal names."""
    number = session.named_cap
    if number is None:
        wide = session.replies[-1]
        learned = f"{_WIDE_MINUTES} minutes are answered, with {len(wide.rows)} rows"
        return ProbeAnswer(learned, agrees=False, evidence=[wide])
    # the last one begins in mid-minute: only there do a rule of buckets and a rule of spans part
    late = max((start for start in session.hour if start < session.start + 30 * MINUTE), default=session.start) + 20
    windows = [(session.start, minutes) for minutes in range(number - 2, number + 2)] + [(late, number)]
    seen = []
    for start, minutes in windows:
        end = start - DAY + minutes * MINUTE
        seen.append((start, end + DAY, (await session.candles(start - DAY, end)).status == 200))
    edge = " ".join(f"{windows[at][1]}{'+' if seen[at][2] else '-'}" for at in range(4))
    off_grid = "answered" if seen[4][2] else "refused"
    learned = f"aligned windows of {edge} minutes (+ answered, - refused); {number} minutes off the grid {off_grid}"
    rule = _fitting(seen, number, end_inclusive=session.end_inclusive)
    return ProbeAnswer(learned, agrees=False, values=(rule.cap, rule.cap_rule) if rule else ())


def _fitting(seen: Sequence[tuple[int, int, bool]], number: int, *, end_inclusive: bool) -> Behaviour | None:
    """Return the rule that foretells what was seen, what is assumed first; None if none does."""
    caps = sorted(range(number - 3, number + 4), key=lambda limit: (abs(limit - number), limit))
    rules: tuple[Literal["buckets", "span"], ...] = ("buckets", "span")
    for limit, rule in product(caps, rules):
        shape = Behaviour(end_inclusive=end_inclusive, cap=limit, cap_rule=rule)
        if all(too_wide(shape, start, end, MINUTE) != taken for start, end, taken in seen):
            return shape
    return None


async def _row_limit(session: ProbeSession) -> ProbeAnswer:
    kept = 5
    reply = await session.candles(session.start, session.start + HOUR, limit=kept)
    rows, whole = sorted(reply.rows), sorted(session.hour)
    if len(whole) <= kept or reply.status != 200:
        return ProbeAnswer(reply.shape)
    if rows in (whole[-kept:], whole[:kept]):
        name = "newest" if rows == whole[-kept:] else "oldest"
        return ProbeAnswer(f"keeps the {name}", values=(name,))
    neither = f"keeps {len(rows)} of {len(whole)} rows, neither newest nor oldest"
    return ProbeAnswer("is ignored" if rows == whole else neither, agrees=False)


def _finest_step(session: ProbeSession, reply: Reply) -> ProbeAnswer:
    session.listed, pages = reply, (reply.content or {}).get("products") or []
    steps = {str(page.get("product_id")): str(page.get("quote_increment") or "") for page in pages}
    known = {name: Decimal(step) for name, step in steps.items() if _NUMBER.fullmatch(step)}
    if not known:
        return ProbeAnswer(f"none told by {len(pages)} products")
    finer = sorted(name for name, step in known.items() if step < _FINEST)
    rest = f" and {len(finer) - 5} more" if len(finer) > 5 else ""
    named = f"; finer: {', '.join(finer[:5])}{rest}" if finer else ""
    return ProbeAnswer(f"{min(known.values()):f} among {len(known)} products{named}", not finer)


async def _delisted(session: ProbeSession) -> ProbeAnswer:
    pages = ((session.listed and session.listed.content) or {}).get("products") or []
    gone = [str(page.get("product_id")) for page in pages if page.get("status") == "delisted"]
    if not gone:
        return ProbeAnswer(f"none among {len(pages)} products", evidence=[session.listed] if session.listed else ())
    for part in range(4):
        end = session.now // DAY * DAY - part * _DAILY_WINDOW
        reply = await session.candles(end - _DAILY_WINDOW, end, gone[0], granularity="ONE_DAY")
        if reply.status != 200 or reply.rows:
            learned = (
                f"served, the last {minute_start(max(reply.rows) // MINUTE):%Y-%m-%d}" if reply.rows else reply.shape
            )
            return ProbeAnswer(f"{gone[0]}: {learned}", values=(reply.status,))
    return ProbeAnswer(f"{gone[0]}: 200, but not one daily candle in three years")


async def _before_listing(session: ProbeSession) -> ProbeAnswer:
    start = min(_LATE_WINDOW, (session.now // DAY - 30) * DAY)
    reply = await session.candles(start, start + HOUR, _LATE)
    if reply.rows:
        return ProbeAnswer(
            f"has {len(reply.rows)} candles on {minute_start(start // MINUTE):%Y-%m-%d}: it was listed before"
        )
    if reply.status == 200:
        return ProbeAnswer("200 with an empty list", values=(200,))
    if (page := await session.ask(f"/market/products/{_LATE}")).status != 200:
        return ProbeAnswer(f"not offered here ({reply.status}, its page {page.status})")
    return ProbeAnswer(f"{reply.shape}: {reply.message[:70]}, though its page is there", values=(reply.status,))


async def _alias(session: ProbeSession) -> ProbeAnswer:
    name = f"{session.product}C"
    if not session.product.endswith("-USD"):
        return ProbeAnswer("not asked: no -USD product")
    reply = await session.candles(session.start, session.start + HOUR, name)
    if reply.status != 200:
        return ProbeAnswer(f"{name} is not offered ({reply.status})", values=(False,))
    if differing := _differing(session.hour, reply.rows):
        return ProbeAnswer(f"{differing} of {len(session.hour)} minutes differ", agrees=False)
    return ProbeAnswer(f"the same {len(reply.rows)} candles", values=(True,))


def _twin(session: ProbeSession, reply: Reply) -> ProbeAnswer:
    differing = _differing(session.hour, reply.rows)
    learned = f"{differing} minutes differ" if differing else f"the same {len(reply.rows)} candles"
    return ProbeAnswer(learned if reply.status == 200 else reply.shape, reply.status == 200 and not differing)


def _differing(rows: Rows, others: Rows) -> int:
    return sum(rows.get(start) != others.get(start) for start in rows.keys() | others.keys())


async def _settling(session: ProbeSession) -> ProbeAnswer:
    """Whether a closed minute appears late or changes later, by looking again and again."""
    reads: list[tuple[float, Rows]] = []
    for look in range(max(2, round(session.watch_seconds / LOOK_SECONDS) + 1)):
        if look:
            await session.sleep(LOOK_SECONDS)
        now = (await session.provider.server_time()).timestamp()
        last = int(now) // MINUTE * MINUTE
        # up to the minute that is still open, so that the one before it is answered under either rule for the end
        reply = await session.candles(last - 10 * MINUTE, last)
        reads.append((now, {start: row for start, row in reply.rows.items() if start + MINUTE <= now}))
        if look and reads[-1][0] - reads[-2][0] < 1:
            # a present that is stepped stands still; waiting teaches nothing
            break
    appeared, settled = _ages(reads)
    changes = [f"a row appeared {appeared:.0f} s after the close"] if appeared else []
    changes += [f"a row changed, at the latest {settled:.0f} s after the close"] if settled else []
    youngest = min(now % MINUTE for now, _ in reads)
    seen = ", ".join(changes) or "nothing changed"
    learned = f"{len(reads)} looks, the youngest {youngest:.0f} s after a close: {seen}"
    return ProbeAnswer(learned, values=(float(round(appeared)), float(round(settled))))


def _ages(reads: Sequence[tuple[float, Rows]]) -> tuple[float, float]:
    """Return how long after its close a row was first seen, and last seen changed, after an earlier look without; or 0."""
    appeared = settled = 0.0
    for (before, old), (now, new) in pairwise(reads):
        for start, row in new.items():
            age = now - start - MINUTE
            # an earlier look missed it although it was over and inside the window that was asked for
            was_missing = start + MINUTE <= before and start >= int(before) // MINUTE * MINUTE - 10 * MINUTE
            if start in old and old[start] != row:
                settled = max(settled, age)
            elif start not in old and was_missing:
                appeared = max(appeared, age)
    return appeared, settled


async def _provoked(session: ProbeSession) -> ProbeAnswer:
    """What a 429 looks like, by asking until there is one: not polite, so only on demand."""
    began = time.monotonic()
    count, status = 0, 0
    while count < _BURST and status != 429:
        reply = await session.ask(f"/market/products/{session.product}", wanted=(429,), is_limited=False)
        count, status = count + 1, reply.status
    burst = f"{count} requests within {time.monotonic() - began:.1f} s"
    session.provider.connection.hold("public", _REST_SECONDS)
    return _refusal(reply, f", after {burst}") if status == 429 else ProbeAnswer(f"none in {burst}")


def _refusal(reply: Reply, when: str) -> ProbeAnswer:
    """Read a 429: its body, how long it says to wait, and whether it names the ceiling."""
    body = "empty" if not reply.body.strip() else "json" if reply.content is not None else "html"
    wait = reply.headers.get("retry-after")
    seconds = float(wait) if wait is not None and wait.replace(".", "", 1).isdigit() else None
    retry_after = f"Retry-After {wait}" if wait else "no Retry-After"
    learned = f"{body}, {retry_after}, {'with' if reply.has_rate else 'no'} x-ratelimit{when}"
    return ProbeAnswer(learned, values=(body, seconds, reply.has_rate), evidence=[reply])


async def _rate_headers(session: ProbeSession) -> ProbeAnswer:
    named = next((reply for reply in session.replies if reply.status == 200 and reply.has_rate), None)
    learned = "none" if named is None else f"{named.request.partition('?')[0]}: {named.headers}"
    return ProbeAnswer(learned, named is None, evidence=[named] if named else [])


async def _met_on_the_way(session: ProbeSession) -> ProbeAnswer | None:
    limited = next((reply for reply in session.replies if reply.status == 429), None)
    was_provoked = any(finding.question == "429" for finding in session.findings)
    return None if limited is None or was_provoked else _refusal(limited, ", met on the way")


# fmt: off
QUESTIONS = (
    # name, requests (for --list), title of the finding, how it is asked and read, what the local exchange assumes
    ProbeQuestion("time", "the time", "time without a key", _once("/time", _time), "200 {epochMillis, epochSeconds, iso}"),
    ProbeQuestion("stranger", "key permissions without a token", "private path without a token",
                  _once(_SIGNED, lambda _, reply: ProbeAnswer(
                      f"{reply.status} {reply.media_type} {reply.body[:30]!r}",
                      (reply.status, reply.body, reply.media_type) == (401, "Unauthorized\n", "text/plain"))),
                  "401 text/plain 'Unauthorized\\n'"),
    ProbeQuestion("bad token", "a product's page with a bad token", "bad token on a public path",
                  _once(_PAGE, lambda _, reply: ProbeAnswer(
                      "ignored" if reply.status == 200 else f"refused, {reply.shape}", values=(reply.status == 401,)),
                      authorization="Bearer nonsense"), ("public_checks_tokens",)),
    ProbeQuestion("500", "ticker with limit=1001", "ticker of 1001 trades",  # known to make a fault of the server
                  _once(_PAGE + "/ticker", lambda _, reply: ProbeAnswer(
                      _with_message(reply), reply.status == 500 and (reply.content or {}).get("error") == "INTERNAL"),
                      lambda _: {"limit": 1001}, wanted=(500,)), "500, error INTERNAL"),
    ProbeQuestion("key", "key permissions, signed", "key", _key, "200", needs_key=True),
    ProbeQuestion("leeway", "key permissions with nbf ahead and with exp past by 1 to 30 s", "leeway of a token's times",
                  _leeway, ("token_leeway_seconds",), needs_key=True),
    ProbeQuestion("nonce", "key permissions twice with one token", "token sent twice", _sent_twice, ("nonce_once",),
                  needs_key=True),
    ProbeQuestion("end", "candles of an hour; candles up to a minute known to be there", "end of the window", _window_end,
                  ("end_inclusive",)),
    ProbeQuestion("start", "candles from 20 seconds past a minute", "start in mid-minute", _window_start,
                  "rounded up to a minute"),
    ProbeQuestion("cap", "candles of 10000 minutes", "refusal of a wide window", _wide_window,
                  "400 {error, error_details, message}"),
    ProbeQuestion("cap", "candles of 348 to 351 minutes; of 350 from 20 seconds past a minute", "cap", _cap,
                  ("cap", "cap_rule")),
    ProbeQuestion("limit", "candles of an hour with limit=5", "limit below the window", _row_limit, ("limit_keeps",)),
    ProbeQuestion("omitted", "candles without start and end", "start and end left out",
                  _once(_PAGE + "/candles", lambda _, reply: ProbeAnswer(
                      f"answered with {len(reply.rows)} rows" if reply.status == 200 else _with_message(reply),
                      values=(reply.status != 200,)), lambda _: {"granularity": "ONE_MINUTE"}), ("window_required",)),
    ProbeQuestion("unknown", f"candles of {_UNKNOWN}", "candles of an unknown product",
                  _once(f"/market/products/{_UNKNOWN}/candles", lambda _, reply: ProbeAnswer(
                      _with_message(reply), agrees=False, values=(reply.status,) if reply.status in (400, 404) else ()),
                      _hour), ("unknown_candles_status",)),
    ProbeQuestion("unknown", f"page of {_UNKNOWN}", "page of an unknown product",
                  _once(f"/market/products/{_UNKNOWN}", lambda _, reply: ProbeAnswer(
                      _with_message(reply), reply.status == 404)), "404"),
    ProbeQuestion("products", "list of products", "finest step of a price",
                  _once("/market/products", _finest_step, lambda _: {"product_type": "SPOT", "get_all_products": "true"}),
                  f"not below {_FINEST:f}, the store's eight decimals"),
    ProbeQuestion("products", "daily candles of a delisted one", "candles of a delisted product", _delisted,
                  ("delisted_candles_status",)),
    ProbeQuestion("listing", f"candles of {_LATE} in June 2024, its page if they are refused",
                  f"{_LATE} before its listing", _before_listing, ("before_listing_status",)),
    ProbeQuestion("alias", "candles of an hour of the -USDC product", "{product}C against {product}", _alias,
                  ("usdc_aliases",)),
    ProbeQuestion("twin", "candles of an hour, signed", "private candles", needs_key=True, assumed="as the public ones",
                  ask=_once("/products/{product}/candles", _twin, _hour, surface="private")),
    ProbeQuestion("settling", "candles of the last ten minutes, every ten seconds", "closed minutes, looked at again",
                  _settling, ("published_after_seconds", "settles_after_seconds")),
)
_LIMIT = ("limit_body", "limit_retry_after", "limit_headers")
PROVOKED = ProbeQuestion("429", f"a product's page up to {_BURST} times without waiting", "429", _provoked, _LIMIT)
ON_THE_WAY = (
    ProbeQuestion("headers", "", "x-ratelimit on good answers", _rate_headers, "none"),
    ProbeQuestion("429", "", "429", _met_on_the_way, _LIMIT),
)
"""Read from the answers to the others, so asked last."""
# fmt: on
