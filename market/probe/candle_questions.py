"""Answer the open questions about candles: windows, caps, products, and how a minute settles."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Literal

from core.candles import EPOCH
from market.exchange.behaviour import Behaviour, too_wide
from market.probe.client import ASSUMED, DAY, MINUTE, ProbeQuestion, ProbeSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    Rows = dict[int, tuple[str, ...]]

UNKNOWN = "NOPE-USD"
LATE = "BNB-USD"
_LATE_WINDOW = 1_717_372_800
"""2024-06-03: more than a year before BNB-USD was listed."""
_WIDE_MINUTES = 10_000
_LOOK_SECONDS = 10.0
_FINEST = Decimal("0.00000001")
_NUMBER = re.compile(r"\d+(\.\d+)?([eE]-?\d+)?")
_DAILY_WINDOW = 290 * DAY
_DELISTED = "candles of a delisted product"


async def window_end(session: ProbeSession) -> None:
    """Whether the bucket that starts at ``end`` is answered; asked of one that is known to be there."""
    inner = [start for start in session.hour if session.start < start < session.start + 60 * MINUTE]
    if not inner:
        session.note("end of the window", f"{session.product} has no candle that day", "")
        return
    last = max(inner)
    reply = await session.candles(last - 10 * MINUTE, last)
    session.end_inclusive = last in reply.rows
    learned = f"the bucket at end is {'told' if session.end_inclusive else 'left out'}"
    session.compare("end of the window", learned, end_inclusive=session.end_inclusive)


async def window_start(session: ProbeSession) -> None:
    """Whether a start in mid-minute is taken as the minute before or the one after."""
    known = [start for start in session.hour if start < session.start + 50 * MINUTE]
    if not known:
        session.note("start in mid-minute", f"{session.product} has no candle that day", "")
        return
    reply = await session.candles(max(known) + 20, max(known) + 10 * MINUTE)
    is_down = max(known) in reply.rows
    learned = f"rounded {'down' if is_down else 'up'} to a minute"
    session.note("start in mid-minute", learned, "rounded up to a minute", agrees=not is_down)


async def cap(session: ProbeSession) -> None:
    """Where the edge of the cap lies, by windows around the number that the refusal names."""
    wide = await session.candles(session.start - _WIDE_MINUTES * MINUTE, session.start)
    if wide.status == 200:
        learned = f"{_WIDE_MINUTES} minutes are answered, with {len(wide.rows)} rows"
        session.note("cap", learned, f"refused beyond {ASSUMED.cap}", agrees=False)
        return
    keys = {"error", "error_details", "message"}
    agrees = wide.status == 400 and set(wide.content or {}) == keys and "number of candles" in wide.message
    learned = f"{wide.shape}: {wide.message[:90]}"
    session.note("refusal of a wide window", learned, "400 {error, error_details, message}", agrees=agrees)
    named = re.search(r"less than (\d+)", wide.message)
    number = int(named.group(1)) if named else ASSUMED.cap
    # the last one begins in mid-minute: only there do a rule of buckets and a rule of spans part
    late = max((start for start in session.hour if start < session.start + 30 * MINUTE), default=session.start) + 20
    windows = [(session.start, minutes) for minutes in range(number - 2, number + 2)] + [(late, number)]
    taken = [
        (
            start,
            start + minutes * MINUTE,
            (await session.candles(start - DAY, start - DAY + minutes * MINUTE)).status == 200,
        )
        for start, minutes in windows
    ]
    edge = " ".join(f"{windows[at][1]}{'+' if taken[at][2] else '-'}" for at in range(4))
    off_grid = "answered" if taken[4][2] else "refused"
    learned = f"aligned windows of {edge} minutes (+ answered, - refused); {number} minutes off the grid {off_grid}"
    rule = _fitting(taken, number, end_inclusive=session.end_inclusive)
    if rule is None:
        session.note("cap", learned, f"cap={ASSUMED.cap}, cap_rule={ASSUMED.cap_rule}", agrees=False)
    else:
        session.compare("cap", learned, cap=rule.cap, cap_rule=rule.cap_rule)


def _fitting(seen: Sequence[tuple[int, int, bool]], number: int, *, end_inclusive: bool) -> Behaviour | None:
    """Return the rule that foretells what was seen, what is assumed first; None if none does."""
    caps = sorted(range(number - 3, number + 4), key=lambda limit: (abs(limit - number), limit))
    rules: tuple[Literal["buckets", "span"], ...] = ("buckets", "span")
    for limit, rule in product(caps, rules):
        shape = Behaviour(end_inclusive=end_inclusive, cap=limit, cap_rule=rule)
        if all(too_wide(shape, start, end, MINUTE) != taken for start, end, taken in seen):
            return shape
    return None


async def unknown_product(session: ProbeSession) -> None:
    """How candles and page of a product that does not exist are refused."""
    question = "candles of an unknown product"
    candles = await session.candles(session.start, session.start + 60 * MINUTE, UNKNOWN)
    learned = f"{candles.shape}{f': {candles.message[:70]}' if candles.message else ''}"
    if candles.status in (400, 404):
        session.compare(question, learned, unknown_candles_status=candles.status)
    else:
        session.note(question, learned, "400 or 404", agrees=False)
    page = await session.ask(f"/market/products/{UNKNOWN}")
    learned = f"{page.shape}: {page.message[:70]}"
    session.note("page of an unknown product", learned, "404", agrees=page.status == 404)


async def products(session: ProbeSession) -> None:
    """Whether eight decimals hold every price, and whether the candles of a delisted product are still served."""
    listed = await session.ask("/market/products", {"product_type": "SPOT", "get_all_products": "true"})
    pages = (listed.content or {}).get("products") or []
    _finest_step(session, pages)
    gone = [str(page.get("product_id")) for page in pages if page.get("status") == "delisted"]
    if gone:
        await _delisted(session, gone[0])
    else:
        assumed = f"delisted_candles_status={ASSUMED.delisted_candles_status}"
        session.note(_DELISTED, f"none among {len(pages)} products", assumed, [listed])


def _finest_step(session: ProbeSession, pages: Sequence[dict[str, Any]]) -> None:
    steps = {str(page.get("product_id")): str(page.get("quote_increment") or "") for page in pages}
    known = {name: Decimal(step) for name, step in steps.items() if _NUMBER.fullmatch(step)}
    question, assumed = "finest step of a price", f"not below {_FINEST:f}, the store's eight decimals"
    if not known:
        session.note(question, f"none told by {len(pages)} products", assumed)
        return
    finer = sorted(name for name, step in known.items() if step < _FINEST)
    rest = f" and {len(finer) - 5} more" if len(finer) > 5 else ""
    named = f"; finer: {', '.join(finer[:5])}{rest}" if finer else ""
    learned = f"{min(known.values()):f} among {len(known)} products{named}"
    session.note(question, learned, assumed, agrees=not finer)


async def _delisted(session: ProbeSession, name: str) -> None:
    for part in range(4):
        end = session.now // DAY * DAY - part * _DAILY_WINDOW
        reply = await session.candles(end - _DAILY_WINDOW, end, name, granularity="ONE_DAY")
        if reply.status != 200 or reply.rows:
            learned = f"served, the last {_day(max(reply.rows))}" if reply.rows else reply.shape
            session.compare(_DELISTED, f"{name}: {learned}", delisted_candles_status=reply.status)
            return
    session.note(_DELISTED, f"{name}: 200, but not one daily candle in three years", "still served")


async def before_the_listing(session: ProbeSession) -> None:
    """How a window long before a product's first trade is answered."""
    question, empty = f"{LATE} before its listing", "200 with an empty list"
    start = min(_LATE_WINDOW, (session.now // DAY - 30) * DAY)
    reply = await session.candles(start, start + 60 * MINUTE, LATE)
    if reply.rows:
        learned = f"has {len(reply.rows)} candles on {_day(start)}: it was listed before"
        session.note(question, learned, "no candles")
    elif reply.status == 200:
        session.compare(question, empty, before_listing_status=200)
    elif (page := await session.ask(f"/market/products/{LATE}")).status != 200:
        session.note(question, f"not offered here ({reply.status}, its page {page.status})", empty)
    else:
        learned = f"{reply.shape}: {reply.message[:70]}, though its page is there"
        session.compare(question, learned, before_listing_status=reply.status)


def _day(seconds: int) -> str:
    return f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%d}"


async def row_limit(session: ProbeSession) -> None:
    """Which rows a limit smaller than the window keeps."""
    question, kept, assumed = "limit below the window", 5, f"limit_keeps={ASSUMED.limit_keeps}"
    reply = await session.candles(session.start, session.start + 60 * MINUTE, limit=kept)
    rows, whole = sorted(reply.rows), sorted(session.hour)
    if len(whole) <= kept or reply.status != 200:
        session.note(question, reply.shape, assumed)
    elif rows in (whole[-kept:], whole[:kept]):
        name = "newest" if rows == whole[-kept:] else "oldest"
        session.compare(question, f"keeps the {name}", limit_keeps=name)
    else:
        neither = f"keeps {len(rows)} of {len(whole)} rows, neither newest nor oldest"
        session.note(question, "is ignored" if rows == whole else neither, assumed, agrees=False)


async def omitted_window(session: ProbeSession) -> None:
    """Whether start and end may be left out."""
    reply = await session.ask(f"/market/products/{session.product}/candles", {"granularity": "ONE_MINUTE"})
    is_taken = reply.status == 200
    learned = f"answered with {len(reply.rows)} rows" if is_taken else f"{reply.shape}: {reply.message[:70]}"
    session.compare("start and end left out", learned, window_required=not is_taken)


async def alias(session: ProbeSession) -> None:
    """Whether a -USDC product shows the candles of the -USD one."""
    name, same = f"{session.product}C", "the same candles"
    question = f"{name} against {session.product}"
    if not session.product.endswith("-USD"):
        session.note(question, "not asked: no -USD product", same)
        return
    reply = await session.candles(session.start, session.start + 60 * MINUTE, name)
    if reply.status != 200:
        session.compare(question, f"{name} is not offered ({reply.status})", usdc_aliases=False)
    elif differing := _differing(session.hour, reply.rows):
        session.note(question, f"{differing} of {len(session.hour)} minutes differ", same, agrees=False)
    else:
        session.compare(question, f"the same {len(reply.rows)} candles", usdc_aliases=True)


async def private_twin(session: ProbeSession) -> None:
    """Whether the private path answers with the same candles as the public one."""
    query = {"start": session.start, "end": session.start + 60 * MINUTE, "granularity": "ONE_MINUTE"}
    reply = await session.ask(f"/products/{session.product}/candles", query, surface="private")
    differing = _differing(session.hour, reply.rows)
    learned = f"{differing} minutes differ" if differing else f"the same {len(reply.rows)} candles"
    is_answered = reply.status == 200
    agrees = is_answered and not differing
    session.note("private candles", learned if is_answered else reply.shape, "as the public ones", agrees=agrees)


def _differing(rows: Rows, others: Rows) -> int:
    return sum(rows.get(start) != others.get(start) for start in rows.keys() | others.keys())


async def settling(session: ProbeSession) -> None:
    """Whether a closed minute appears late or changes later, by looking again and again."""
    reads: list[tuple[float, Rows]] = []
    for look in range(max(2, round(session.watch_seconds / _LOOK_SECONDS) + 1)):
        if look:
            await session.sleep(_LOOK_SECONDS)
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
    learned = (
        f"{len(reads)} looks, the youngest {youngest:.0f} s after a close: {', '.join(changes) or 'nothing changed'}"
    )
    session.compare(
        "closed minutes, looked at again",
        learned,
        published_after_seconds=float(round(appeared)),
        settles_after_seconds=float(round(settled)),
    )


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


QUESTIONS = (
    ProbeQuestion("end", "candles of an hour; candles up to a minute known to be there", window_end),
    ProbeQuestion("start", "candles from 20 seconds past a minute", window_start),
    ProbeQuestion("cap", "candles of 10000 minutes; of 348 to 351; of 350 from 20 seconds past a minute", cap),
    ProbeQuestion("limit", "candles of an hour with limit=5", row_limit),
    ProbeQuestion("omitted", "candles without start and end", omitted_window),
    ProbeQuestion("unknown", f"candles and page of {UNKNOWN}", unknown_product),
    ProbeQuestion("products", "list of products; daily candles of a delisted one", products),
    ProbeQuestion("listing", f"candles of {LATE} in June 2024, its page if they are refused", before_the_listing),
    ProbeQuestion("alias", "candles of an hour of the -USDC product", alias),
    ProbeQuestion("twin", "candles of an hour, signed", private_twin, needs_key=True),
)
SETTLING = ProbeQuestion("settling", "candles of the last ten minutes, every ten seconds", settling)
