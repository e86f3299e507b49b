"""The open questions about candles: windows, caps, products, and how a minute settles."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import pairwise
from itertools import product as pairs
from typing import TYPE_CHECKING, Any, Literal

from market.exchange.behaviour import Behaviour, too_wide
from market.probe.client import clock_time
from market.probe.findings import ASSUMED, DAY, MINUTE, Finding, Market, Question, judged, noted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from market.probe.client import Reply

UNKNOWN = "NOPE-USD"
LATE = "BNB-USD"
_LATE_WINDOW = 1_717_372_800
"""2024-06-03: more than a year before BNB-USD was listed."""
_WIDE_MINUTES = 10_000
_LOOK_SECONDS = 10.0
_FINEST = Decimal("0.00000001")
_NUMBER = re.compile(r"\d+(\.\d+)?([eE]-?\d+)?")
_DAILY_WINDOW = 290 * DAY


async def the_end(market: Market) -> list[Finding]:
    """Whether the bucket that starts at ``end`` is told; asked of one that is known to be there."""
    inner = [start for start in market.hour if market.start < start < market.start + 60 * MINUTE]
    if not inner:
        return [noted("end of the window", f"{market.product} has no candle that day", "", [], agrees=None)]
    last = max(inner)
    reply = await market.asker.candles(market.product, last - 10 * MINUTE, last)
    market.end_inclusive = last in reply.rows
    learned = f"the bucket at end is {'told' if market.end_inclusive else 'left out'}"
    return [judged("end of the window", learned, [reply], end_inclusive=market.end_inclusive)]


async def the_cap(market: Market) -> list[Finding]:
    """Where the edge of the cap lies, by windows around the number that the refusal names."""
    asker, name = market.asker, market.product
    wide = await asker.candles(name, market.start - _WIDE_MINUTES * MINUTE, market.start)
    if wide.status == 200:
        learned = f"{_WIDE_MINUTES} minutes are answered, with {len(wide.rows)} rows"
        return [noted("cap", learned, f"refused beyond {ASSUMED.cap}", [wide], agrees=False)]
    named = re.search(r"less than (\d+)", wide.message)
    number = int(named.group(1)) if named else ASSUMED.cap
    # the last one begins in mid-minute: only there do a rule of buckets and a rule of spans part
    late = max((start for start in market.hour if start < market.start + 30 * MINUTE), default=market.start) + 20
    windows = [(market.start, minutes) for minutes in range(number - 2, number + 2)] + [(late, number)]
    replies = [await asker.candles(name, start - DAY, start - DAY + minutes * MINUTE) for start, minutes in windows]
    seen = [
        (start, start + minutes * MINUTE, reply.status == 200)
        for (start, minutes), reply in zip(windows, replies, strict=True)
    ]
    spans = " ".join(
        f"{minutes}{'+' if taken else '-'}" for (_, minutes), (*_, taken) in zip(windows[:4], seen[:4], strict=True)
    )
    learned = f"aligned windows of {spans} minutes (+ answered, - refused); {number} minutes off the grid {'answered' if seen[4][2] else 'refused'}"
    evidence = [wide, *replies]
    fitting = _fitting(seen, number, end_inclusive=market.end_inclusive)
    if fitting is None:
        edge = noted("cap", learned, f"cap={ASSUMED.cap}, cap_rule={ASSUMED.cap_rule}", evidence, agrees=False)
    else:
        edge = judged("cap", learned, evidence, cap=fitting.cap, cap_rule=fitting.cap_rule)
    return [edge, _refusal_shape(wide)]


def _fitting(seen: Sequence[tuple[int, int, bool]], number: int, *, end_inclusive: bool) -> Behaviour | None:
    """Return the rule that foretells what was seen, what is assumed first; None if none does."""
    caps = sorted(range(number - 3, number + 4), key=lambda cap: (abs(cap - number), cap))
    rules: tuple[Literal["buckets", "span"], ...] = ("buckets", "span")
    for cap, rule in pairs(caps, rules):
        shape = Behaviour(end_inclusive=end_inclusive, cap=cap, cap_rule=rule)
        if all(too_wide(shape, start, end, MINUTE) != taken for start, end, taken in seen):
            return shape
    return None


def _refusal_shape(wide: Reply) -> Finding:
    keys = {"error", "error_details", "message"}
    is_same = wide.status == 400 and set(wide.content or {}) == keys and "number of candles" in wide.message
    learned = f"{wide.shape}: {wide.message[:90]}"
    return noted("refusal of a wide window", learned, "400 {error, error_details, message}", [wide], agrees=is_same)


async def the_start(market: Market) -> list[Finding]:
    """Whether a start in mid-minute is taken as the minute before or the one after."""
    known = [start for start in market.hour if start < market.start + 50 * MINUTE]
    if not known:
        return [noted("start in mid-minute", f"{market.product} has no candle that day", "", [], agrees=None)]
    reply = await market.asker.candles(market.product, max(known) + 20, max(known) + 10 * MINUTE)
    is_down = max(known) in reply.rows
    learned = f"rounded {'down' if is_down else 'up'} to a minute"
    return [noted("start in mid-minute", learned, "rounded up to a minute", [reply], agrees=not is_down)]


async def the_unknown(market: Market) -> list[Finding]:
    """How candles and page of a product that does not exist are refused."""
    asker = market.asker
    candles = await asker.candles(UNKNOWN, market.start, market.start + 60 * MINUTE)
    page = await asker.ask(f"/market/products/{UNKNOWN}")
    learned = f"{candles.shape}{f': {candles.message[:70]}' if candles.message else ''}"
    if candles.status in (400, 404):
        first = judged("candles of an unknown product", learned, [candles], unknown_candles_status=candles.status)
    else:
        first = noted("candles of an unknown product", learned, "400 or 404", [candles], agrees=False)
    learned = f"{page.shape}: {page.message[:70]}"
    return [first, noted("page of an unknown product", learned, "404", [page], agrees=page.status == 404)]


async def the_products(market: Market) -> list[Finding]:
    """Whether eight decimals hold every price, and whether the candles of a delisted product are still served."""
    query = {"product_type": "SPOT", "get_all_products": "true"}
    listed = await market.asker.ask("/market/products", query)
    pages = (listed.content or {}).get("products") or []
    return [_decimals(listed, pages), await _delisted(market, listed, pages)]


def _decimals(listed: Reply, pages: Sequence[dict[str, Any]]) -> Finding:
    steps = {str(page.get("product_id")): str(page.get("quote_increment") or "") for page in pages}
    known = {name: Decimal(step) for name, step in steps.items() if _NUMBER.fullmatch(step)}
    question, assumed = "finest step of a price", f"not below {_FINEST:f}, the store's eight decimals"
    if not known:
        return noted(question, f"none told by {len(pages)} products", assumed, [listed], agrees=None)
    finer = sorted(name for name, step in known.items() if step < _FINEST)
    learned = f"{min(known.values()):f} among {len(known)} products{f'; finer: {_some(finer)}' if finer else ''}"
    return noted(question, learned, assumed, [listed], agrees=not finer)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


async def _delisted(market: Market, listed: Reply, pages: Sequence[dict[str, Any]]) -> Finding:
    question = "candles of a delisted product"
    gone = [str(page.get("product_id")) for page in pages if page.get("status") == "delisted"]
    if not gone:
        assumed = f"delisted_candles_status={ASSUMED.delisted_candles_status}"
        return noted(question, f"none among {len(pages)} products", assumed, [listed], agrees=None)
    name, replies = gone[0], [listed]
    for part in range(4):
        end = market.now // DAY * DAY - part * _DAILY_WINDOW
        reply = await market.asker.candles(name, end - _DAILY_WINDOW, end, granularity="ONE_DAY")
        replies.append(reply)
        if reply.status != 200:
            return judged(question, f"{name}: {reply.shape}", replies, delisted_candles_status=reply.status)
        if reply.rows:
            learned = f"{name}: served, the last {clock_time(max(reply.rows))[:10]}"
            return judged(question, learned, replies, delisted_candles_status=200)
    learned = f"{name}: 200, but not one daily candle in three years"
    return noted(question, learned, "still served", replies, agrees=None)


async def before_the_listing(market: Market) -> list[Finding]:
    """How a window long before a product's first trade is answered."""
    question = f"{LATE} before its listing"
    start = min(_LATE_WINDOW, (market.now // DAY - 30) * DAY)
    reply = await market.asker.candles(LATE, start, start + 60 * MINUTE)
    if reply.status == 200:
        if reply.rows:
            learned = f"has {len(reply.rows)} candles on {clock_time(start)[:10]}: it was listed before"
            return [noted(question, learned, "no candles", [reply], agrees=None)]
        return [judged(question, "200 with an empty list", [reply], before_listing_status=200)]
    page = await market.asker.ask(f"/market/products/{LATE}")
    if page.status != 200:
        learned = f"not offered here ({reply.status}, its page {page.status})"
        return [noted(question, learned, "200 with an empty list", [reply, page], agrees=None)]
    learned = f"{reply.shape}: {reply.message[:70]}, though its page is there"
    return [judged(question, learned, [reply, page], before_listing_status=reply.status)]


async def the_limit(market: Market) -> list[Finding]:
    """Which rows a limit smaller than the window keeps."""
    question, kept = "limit below the window", 5
    reply = await market.asker.candles(market.product, market.start, market.start + 60 * MINUTE, limit=kept)
    found, whole = sorted(reply.rows), sorted(market.hour)
    if len(whole) <= kept or reply.status != 200:
        return [noted(question, reply.shape, f"limit_keeps={ASSUMED.limit_keeps}", [reply], agrees=None)]
    for name, rows in (("newest", whole[-kept:]), ("oldest", whole[:kept])):
        if found == rows:
            return [judged(question, f"keeps the {name}", [reply], limit_keeps=name)]
    learned = "is ignored" if found == whole else f"keeps {len(found)} of {len(whole)} rows, neither newest nor oldest"
    return [noted(question, learned, f"limit_keeps={ASSUMED.limit_keeps}", [reply], agrees=False)]


async def the_omitted(market: Market) -> list[Finding]:
    """Whether start and end may be left out."""
    reply = await market.asker.ask(f"/market/products/{market.product}/candles", {"granularity": "ONE_MINUTE"})
    is_taken = reply.status == 200
    learned = f"answered with {len(reply.rows)} rows" if is_taken else f"{reply.shape}: {reply.message[:70]}"
    return [judged("start and end left out", learned, [reply], window_required=not is_taken)]


async def the_alias(market: Market) -> list[Finding]:
    """Whether a -USDC product shows the candles of the -USD one."""
    name = f"{market.product}C"
    question = f"{name} against {market.product}"
    if not market.product.endswith("-USD"):
        return [noted(question, "not asked: no -USD product", "the same candles", [], agrees=None)]
    reply = await market.asker.candles(name, market.start, market.start + 60 * MINUTE)
    if reply.status != 200:
        return [judged(question, f"{name} is not offered ({reply.status})", [reply], usdc_aliases=False)]
    differing = _differing(market.hour, reply.rows)
    if differing:
        learned = f"{len(differing)} of {len(market.hour)} minutes differ"
        return [noted(question, learned, "the same candles", [reply], agrees=False)]
    return [judged(question, f"the same {len(reply.rows)} candles", [reply], usdc_aliases=True)]


def _differing(one: dict[int, Any], other: dict[int, Any]) -> list[int]:
    return sorted(start for start in one.keys() | other.keys() if one.get(start) != other.get(start))


async def the_twin(market: Market) -> list[Finding]:
    """Whether the private path tells the same candles as the public one."""
    query = {"start": market.start, "end": market.start + 60 * MINUTE, "granularity": "ONE_MINUTE"}
    reply = await market.asker.ask(f"/products/{market.product}/candles", query, surface="private")
    if reply.status != 200:
        return [noted("private candles", reply.shape, "as the public ones", [reply], agrees=False)]
    differing = _differing(market.hour, reply.rows)
    learned = f"{len(differing)} minutes differ" if differing else f"the same {len(reply.rows)} candles"
    return [noted("private candles", learned, "as the public ones", [reply], agrees=not differing)]


async def the_settling(market: Market) -> list[Finding]:
    """Whether a closed minute appears late or is told differently later, by looking again and again."""
    question = "closed minutes, looked at again"
    reads: list[tuple[float, dict[int, tuple[str, ...]]]] = []
    replies: list[Reply] = []
    looks = max(2, round(market.watch_seconds / _LOOK_SECONDS) + 1)
    for look in range(looks):
        if look:
            await market.asker.sleep(_LOOK_SECONDS)
        now = await market.present()
        last = int(now) // MINUTE * MINUTE
        # up to the minute that is still open, so that the one before it is told under either rule for the end
        replies.append(await market.asker.candles(market.product, last - 10 * MINUTE, last))
        reads.append((now, {start: row for start, row in replies[-1].rows.items() if start + MINUTE <= now}))
        if look and reads[-1][0] - reads[-2][0] < 1:
            # a present that is stepped stands still; waiting teaches nothing
            break
    appeared, settled = _ages(reads)
    youngest = min(now % MINUTE for now, _ in reads)
    learned = f"{len(reads)} looks, the youngest {youngest:.0f} s after a close: "
    if not appeared and not settled:
        return [
            judged(
                question, learned + "nothing changed", replies, published_after_seconds=0.0, settles_after_seconds=0.0
            )
        ]
    texts = [f"a row appeared {appeared:.0f} s after the close"] if appeared else []
    texts += [f"a row changed, at the latest {settled:.0f} s after the close"] if settled else []
    fields = {"published_after_seconds": float(round(appeared)), "settles_after_seconds": float(round(settled))}
    return [judged(question, learned + ", ".join(texts), replies, **fields)]


def _ages(reads: Sequence[tuple[float, dict[int, tuple[str, ...]]]]) -> tuple[float, float]:
    """Return how long after its close a row was first seen, and last seen changed, after an earlier look without; or 0."""
    appeared = settled = 0.0
    for (before, old), (now, new) in pairwise(reads):
        for start, row in new.items():
            age = now - start - MINUTE
            if start in old and old[start] != row:
                settled = max(settled, age)
            elif (
                start not in old and start + MINUTE <= before and start >= int(before) // MINUTE * MINUTE - 10 * MINUTE
            ):
                appeared = max(appeared, age)
    return appeared, settled


QUESTIONS = (
    Question("end", "candles of an hour; candles up to a minute known to be there", the_end),
    Question("start", "candles from 20 seconds past a minute", the_start),
    Question("cap", "candles of 10000 minutes; of 348 to 351; of 350 from 20 seconds past a minute", the_cap),
    Question("limit", "candles of an hour with limit=5", the_limit),
    Question("omitted", "candles without start and end", the_omitted),
    Question("unknown", f"candles and page of {UNKNOWN}", the_unknown),
    Question("products", "list of products; daily candles of a delisted one", the_products),
    Question("listing", f"candles of {LATE} in June 2024, its page if they are refused", before_the_listing),
    Question("alias", "candles of an hour of the -USDC product", the_alias),
    Question("twin", "candles of an hour, signed", the_twin, needs_key=True),
)
SETTLING = Question("settling", "candles of the last ten minutes, every ten seconds", the_settling)
