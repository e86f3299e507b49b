"""Serve a local Coinbase: the Advanced Trade REST API over loopback, for demos, tests and users without a key.

It speaks the wire format of the real one (strings, newest first, the 350 cap, JWTs, token buckets, 429 pages) and
says in every answer what it is: ``x-desk-market`` names the market on candles and on the time, ``x-desk-clock`` is
``simulated`` when its present is not the machine's, ``x-desk-now`` is that present in milliseconds.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NoReturn

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import ConfigError
from market.exchange import responses
from market.exchange.behaviour import Behaviour, buckets, too_wide
from market.exchange.faults import ExchangeAnswer, error, spoil, spoil_rows, too_many, unauthorized
from market.exchange.state import parse_moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from starlette.requests import Request

    from market.exchange.faults import FaultPlan
    from market.exchange.simulated_market import Market
    from market.exchange.state import Exchange

BASE_PATH = "/api/v3/brokerage"
_DATA_FAULTS = frozenset({"duplicates", "disorder", "outside", "revised", "late_hole"})
_BAD_PRODUCT = "product_id argument is invalid"
_MAX_LEVELS = 1000
_MAX_BODY = 65_536
_LONGEST_STEP = timedelta(days=366)
_MAX_DIGITS = 10
"""Of a number in a query: unix seconds up to the year 2286."""


class _RefusedError(Exception):
    """Carries the answer that refuses a request."""

    def __init__(self, answer: ExchangeAnswer) -> None:
        super().__init__(answer.body)
        self.answer = answer


def build_app(exchange: Exchange) -> Starlette:
    """Return the ASGI application: both twins of every path, and the controls under ``/_control``."""
    twins = {
        "/products/{product}/candles": _candles,
        "/products/{product}/ticker": _ticker,
        "/products/{product}": _product,
        "/products": _products,
        "/product_book": _book,
    }
    routes = [Route(f"{BASE_PATH}/time", _endpoint(exchange, _time, "open"))]
    for path, handler in twins.items():
        routes.append(Route(f"{BASE_PATH}{path}", _endpoint(exchange, handler, "private")))
        routes.append(Route(f"{BASE_PATH}/market{path}", _endpoint(exchange, handler, "public")))
    routes.append(Route(f"{BASE_PATH}/best_bid_ask", _endpoint(exchange, _best_bid_ask, "private")))
    routes.append(Route(f"{BASE_PATH}/key_permissions", _endpoint(exchange, _permissions, "private")))
    return Starlette(routes=[*routes, *_controls(exchange)])


def _endpoint(
    exchange: Exchange,
    handler: Callable[[Exchange, Request], ExchangeAnswer],
    surface: Literal["open", "public", "private"],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint: token, rate, fault, then the handler; each answer is counted and labelled."""

    async def endpoint(request: Request) -> Response:
        exchange.counts[f"{surface}_requests"] += 1
        # one present for the whole answer: a client judges by it which rows are closed
        now = request.state.now = exchange.present.now()
        response = _answer(exchange, handler, surface, request)
        exchange.counts[f"status_{response.status_code}"] += 1
        response.headers["x-desk-clock"] = "simulated" if exchange.present.is_simulated else "machine"
        response.headers["x-desk-now"] = str(int(now.timestamp() * 1000))
        if surface != "private":
            response.headers["cache-control"] = "public, max-age=14400"
        return response

    return endpoint


def _answer(
    exchange: Exchange, handler: Callable[[Exchange, Request], ExchangeAnswer], surface: str, request: Request
) -> Response:
    path = request.url.path
    if not _is_known_key(exchange, surface, request):
        return unauthorized().response()
    bucket = exchange.private if surface == "private" else exchange.public
    if surface != "open" and not bucket.take():
        shape = exchange.behaviour
        headers = bucket.headers if shape.limit_headers else {}
        return too_many(shape.limit_body, shape.limit_retry_after, headers).response()
    plan = exchange.faults.pick(path)
    request.state.plan = plan
    try:
        answer = handler(exchange, request)
    except _RefusedError as refusal:
        answer = refusal.answer
    if plan is not None and plan.kind not in _DATA_FAULTS:
        return spoil(answer, plan)
    return answer.response()


def _is_known_key(exchange: Exchange, surface: str, request: Request) -> bool:
    header, shape = request.headers.get("authorization", ""), exchange.behaviour
    if surface != "private" and not (surface == "public" and shape.public_checks_tokens and header):
        return True
    return exchange.checker.accepts(
        request.method,
        request.url.path,
        header,
        leeway=shape.token_leeway_seconds,
        nonce_once=shape.nonce_once,
    )


def _json(content: object) -> ExchangeAnswer:
    return ExchangeAnswer(json.dumps(content, separators=(",", ":")))


def _refuse(details: str) -> NoReturn:
    raise _RefusedError(error(400, "INVALID_ARGUMENT", details))


def _time(exchange: Exchange, request: Request) -> ExchangeAnswer:
    now = request.state.now
    millis = int(now.timestamp() * 1000)
    body = {"iso": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "epochSeconds": str(millis // 1000), "epochMillis": str(millis)}
    return ExchangeAnswer(json.dumps(body), headers=(("x-desk-market", exchange.kinds),))


def _candles(exchange: Exchange, request: Request) -> ExchangeAnswer:
    name, query = request.path_params["product"], request.query_params
    shape, now = exchange.behaviour, request.state.now
    market = exchange.market_shown_by(name)
    if market is None:
        raise _RefusedError(_not_offered(shape.unknown_candles_status, name))
    minutes = _granularity(query.get("granularity", ""))
    first, end = _window(shape, query.get("start", ""), query.get("end", ""), minutes, now)
    if name in shape.delisted:
        _require_served(shape.delisted_candles_status, name)
    if end * minutes <= market.first_minute:
        _require_served(shape.before_listing_status, name)
    visible = responses.visible_rows(market, first * minutes, end * minutes, now)
    visible = responses.as_published(visible, now, shape.published_after_seconds, shape.settles_after_seconds)
    rows = responses.coarser(visible, minutes)
    lines = responses.candle_lines(rows)
    most = min(_limit(query.get("limit", ""), shape.cap), len(lines))
    lines = lines[:most] if shape.limit_keeps == "newest" else lines[len(lines) - most :]
    plan: FaultPlan | None = request.state.plan
    if plan is not None and plan.kind in _DATA_FAULTS:
        exchange.faults.note(plan, rows, len(lines))
        lines = spoil_rows(lines, rows, plan)
    exchange.counts["candles"] += len(lines)
    return ExchangeAnswer(f'{{"candles":[{",".join(lines)}]}}', headers=(("x-desk-market", market.kind),))


def _not_offered(status: int, name: str) -> ExchangeAnswer:
    if status == 400:
        return error(400, "INVALID_ARGUMENT", _BAD_PRODUCT)
    return error(404, "NOT_FOUND", f"Product {name} not supported")


def _require_served(status: int, name: str) -> None:
    """Go on for 200, refuse with any other status."""
    if status != 200:
        raise _RefusedError(_not_offered(status, name))


def _granularity(text: str) -> int:
    if text in responses.GRANULARITIES:
        return responses.GRANULARITIES[text]
    if text in ("", "UNKNOWN_GRANULARITY"):
        _refuse("granularity argument is invalid ")
    raise _RefusedError(error(400, "unknown", f'parsing field "granularity": "{text}" is not a valid value'))


def _window(shape: Behaviour, start_text: str, end_text: str, minutes: int, now: datetime) -> tuple[int, int]:
    """Return the half-open range of buckets asked for, or refuse it."""
    step = minutes * 60
    if not (start_text or end_text or shape.window_required):
        last = int(now.timestamp()) // step
        return last - shape.cap + 1, last + 1
    if not (_is_number(start_text) and _is_number(end_text)):
        _refuse("start argument is invalid - invalid start timestamp")
    start, end = int(start_text), int(end_text)
    if too_wide(shape, start, end, step):
        _refuse(f"start and end argument is invalid - number of candles requested should be less than {shape.cap}")
    if end < start:
        _refuse("start and end argument is invalid - start should be before end")
    first, after = buckets(shape, start, end, step)
    return first, max(after, first)


def _is_number(text: str) -> bool:
    """Whether text is a number of a sane length in ASCII: there are other digits, which `int` reads or stumbles over."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def _limit(text: str, most: int) -> int:
    if not text:
        return most
    if not _is_number(text):
        raise _RefusedError(error(400, "unknown", f'parsing field "limit": "{text}" is not a valid value'))
    return min(int(text), most)


def _market(exchange: Exchange, name: str, details: str) -> Market:
    market = exchange.markets.get(name)
    if market is None:
        raise _RefusedError(error(404, "NOT_FOUND", details))
    return market


def _product(exchange: Exchange, request: Request) -> ExchangeAnswer:
    name = request.path_params["product"]
    if exchange.market_shown_by(name) is None:
        raise _RefusedError(_not_offered(404, name))
    return _json(_page(exchange, name, request.state.now))


def _page(exchange: Exchange, name: str, now: datetime) -> dict[str, object]:
    """Return a product's page, which names the book it shows and the other names of its own."""
    market = exchange.market_shown_by(name)
    assert market is not None  # noqa: S101  # the caller has looked
    page, shape = responses.product(market, now), exchange.behaviour
    if name != market.product:
        page |= {"product_id": name, "quote_currency_id": "USDC", "alias": market.product}
    elif shape.usdc_aliases and name.endswith("-USD") and f"{name}C" not in exchange.markets:
        page |= {"alias_to": [f"{name}C"]}
    if name in shape.delisted:
        page |= {"status": "delisted", "trading_disabled": True, "is_disabled": True}
    return page


def _products(exchange: Exchange, request: Request) -> ExchangeAnswer:
    wanted = request.query_params.getlist("product_ids")
    now = request.state.now
    pages = [_page(exchange, name, now) for name in exchange.markets if not wanted or name in wanted]
    return _json({"products": pages, "num_products": len(pages), "pagination": None})


def _book(exchange: Exchange, request: Request) -> ExchangeAnswer:
    market = _market(exchange, request.query_params.get("product_id", ""), "valid product_id is required")
    levels = min(_limit(request.query_params.get("limit", ""), _MAX_LEVELS), _MAX_LEVELS)
    book = responses.pricebook(market, request.state.now, max(levels, 1))
    if book is None:
        raise _RefusedError(error(404, "NOT_FOUND", "no pricebook found"))
    return _json(responses.book_page(book))


def _best_bid_ask(exchange: Exchange, request: Request) -> ExchangeAnswer:
    wanted = request.query_params.getlist("product_ids") or list(exchange.markets)
    now = request.state.now
    books = [responses.pricebook(exchange.markets[name], now, 1) for name in wanted if name in exchange.markets]
    return _json({"pricebooks": [book for book in books if book is not None]})


def _ticker(exchange: Exchange, request: Request) -> ExchangeAnswer:
    name = request.path_params["product"]
    market = _market(exchange, name, f"Product {name} not supported")
    limit = _limit(request.query_params.get("limit", ""), _MAX_LEVELS + 1)
    if limit > _MAX_LEVELS and request.query_params.get("limit"):
        raise _RefusedError(error(500, "INTERNAL", "internal error"))
    now = request.state.now
    book = responses.pricebook(market, now, 1)
    best = {"best_bid": book["bids"][0]["price"], "best_ask": book["asks"][0]["price"]} if book else {}
    return _json({"trades": responses.trades(market, now, max(1, min(limit, 100))), **best})


def _permissions(_: Exchange, __: Request) -> ExchangeAnswer:
    return _json(
        {"can_view": True, "can_trade": False, "can_transfer": False, "portfolio_uuid": "", "portfolio_type": "DEFAULT"}
    )


def _refusing(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a control, which answers a refusal as one."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except _RefusedError as refusal:
            return refusal.answer.response()

    return endpoint


def _step(exchange: Exchange, text: str) -> datetime:
    """Return where to step to: its markets are made minute by minute, a slip of the year would keep a core busy for ever."""
    moment = parse_moment(text)
    if moment - exchange.present.now() > _LONGEST_STEP:
        _refuse(f"{text} is more than {_LONGEST_STEP.days} days ahead")
    return moment


async def _body(request: Request) -> dict[str, object]:
    """Return the JSON object of a request, whose size and depth are bounded."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MAX_BODY:
            _refuse(f"the body is longer than {_MAX_BODY} bytes")
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        _refuse("the body is no JSON object")
    return parsed


def _controls(exchange: Exchange) -> list[Route]:
    """Return the paths that steer the stub; the real exchange has none of them."""

    async def clock(request: Request) -> Response:
        if request.method == "POST":
            text = (await _body(request)).get("advance_to")
            try:
                exchange.present.advance(_step(exchange, text if isinstance(text, str) else ""))
            except ConfigError as fault:
                return JSONResponse({"error": str(fault)}, 409)
        now = exchange.present.now()
        present = exchange.present
        return JSONResponse({"now": now.isoformat(), "stepped": present.is_stepped, "speed": present.speed})

    async def plan_faults(request: Request) -> Response:
        body = await _body(request)
        if body.get("clear"):
            exchange.faults.clear()
        try:
            planned = exchange.faults.plan(body.get("faults", []))
        except ConfigError as fault:
            return JSONResponse({"error": str(fault)}, 400)
        return JSONResponse({"planned": planned})

    async def behave(request: Request) -> Response:
        try:
            changed = {**exchange.behaviour.model_dump(), **await _body(request)}
            exchange.behaviour = Behaviour.model_validate(changed)
        except (ValidationError, TypeError) as fault:
            return JSONResponse({"error": str(fault)}, 400)
        return JSONResponse(exchange.behaviour.model_dump())

    async def stats(_: Request) -> Response:
        return JSONResponse(
            {
                "markets": {name: market.kind for name, market in exchange.markets.items()},
                "now": exchange.present.now().isoformat(),
                "counts": dict(exchange.counts),
                "refused_tokens": dict(exchange.checker.refusals),
                "faults": dict(exchange.faults.happened),
                "untrue": exchange.faults.untrue,
            }
        )

    return [
        Route("/_control/clock", _refusing(clock), methods=["GET", "POST"]),
        Route("/_control/faults", _refusing(plan_faults), methods=["POST"]),
        Route("/_control/behaviour", _refusing(behave), methods=["POST"]),
        Route("/_control/stats", stats),
    ]
