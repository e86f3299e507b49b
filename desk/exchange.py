"""`desk exchange`: start the local exchange and print what it serves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.candles import floor_minute
from core.errors import ConfigError, DeskError
from market.exchange.auth import TokenChecker, load_public_key
from market.exchange.behaviour import parse_behaviour
from market.exchange.control_guard import published_token
from market.exchange.recorded_market import RecordedMarket, recorded_markets
from market.exchange.responses import last_day
from market.exchange.server import base_url, listen, server
from market.exchange.simulated_market import BEST_ACCURACY, EPOCH, SimulatedMarket, simulated_market
from market.exchange.state import Exchange, Present, TokenBucket, parse_moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.candles import Span
    from market.exchange.simulated_market import Market

DEFAULT_PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
KINDS = ("planted", "null", "recorded")


def exchange(  # one option each
    market: Annotated[
        str, typer.Option(help="planted (a known edge), null (none) or recorded (Parquet files)")
    ] = "planted",
    product: Annotated[list[str] | None, typer.Option(help="a product offered; repeat it")] = None,
    null_products: Annotated[
        list[str] | None, typer.Option(help="products without an edge in a planted exchange")
    ] = None,
    listed_at: Annotated[list[str] | None, typer.Option(help="PRODUCT=TIME, no candles before it; repeat it")] = None,
    best_accuracy: Annotated[
        float, typer.Option(help="the planted edge: best possible 15-minute accuracy")
    ] = BEST_ACCURACY,
    data: Annotated[Path | None, typer.Option(help="folder of the recorded candles")] = None,
    port: Annotated[int, typer.Option(help="loopback port, 0 for a free one")] = 0,
    seed: Annotated[int, typer.Option(help="the same seed gives the same market")] = 7,
    speed: Annotated[float, typer.Option(help="how many times faster than real time")] = 1.0,
    stepped: Annotated[
        bool, typer.Option(help="time moves only by POST /_control/clock, with this exchange's token")
    ] = False,
    start: Annotated[str, typer.Option(help="the exchange's present at start, ISO")] = "",
    public_key: Annotated[Path | None, typer.Option(help="PEM public key whose tokens are accepted")] = None,
    key_name: Annotated[str, typer.Option(help="name of that key")] = "",
    jwt_host: Annotated[str, typer.Option(help="host that tokens must be made for")] = "api.coinbase.com",
    public_rate: Annotated[float, typer.Option(help="requests a second without a key; 0 no limit")] = 10.0,
    private_rate: Annotated[float, typer.Option(help="requests a second with a key; 0 no limit")] = 30.0,
    behaviour: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE where reports of the real one differ; repeat it")
    ] = None,
) -> None:
    """Run a local Coinbase on 127.0.0.1: the real wire format over a simulated or recorded market."""
    try:
        markets = build_markets(
            market,
            product or (),
            seed=seed,
            null_products=_split(null_products),
            listed_at=_listings(listed_at),
            best_accuracy=best_accuracy,
            data=data,
        )
        moment = _start(start, markets, stepped=stepped, speed=speed)
        if moment is not None and not product:
            markets = _covering(markets, moment)
        present = Present(_checked(moment, markets), speed=speed, stepped=stepped)
        if (public_key is None) != (not key_name):
            msg = "a key needs both --public-key FILE and --key-name NAME"
            raise ConfigError(msg)
        keys = {key_name: load_public_key(public_key)} if public_key else {}
        shape = parse_behaviour(behaviour or ())
        listener = listen(port)
    except DeskError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    checker = TokenChecker(keys, jwt_host)
    state = Exchange(markets, present, checker, TokenBucket(public_rate), TokenBucket(private_rate), behaviour=shape)
    for simulated in markets.values():
        # generating from the epoch takes a moment; the first request must not wait for it while others queue up
        last_day(simulated, present.now())
    for line in describe(markets, present):
        typer.echo(line)
    with published_token(listener.getsockname()[1]) as token:
        typer.echo(base_url(listener))
        server(state, token).run(sockets=[listener])


def build_markets(
    kind: str,
    products: Sequence[str] = (),
    *,
    seed: int = 7,
    null_products: Sequence[str] = (),
    listed_at: Mapping[str, datetime] | None = None,
    best_accuracy: float = BEST_ACCURACY,
    data: Path | None = None,
) -> dict[str, Market]:
    """Return the markets of an exchange by product.

    Raises:
        ConfigError: an unknown kind, or recorded files that are not there.
    """
    if kind not in KINDS:
        msg = f"--market is one of {', '.join(KINDS)}, not {kind!r}"
        raise ConfigError(msg)
    if kind == "recorded":
        if data is None:
            msg = "--market recorded needs --data FOLDER, the folder of coinbase_<PRODUCT>_1m.parquet files"
            raise ConfigError(msg)
        return dict(recorded_markets(data, products))
    listings = listed_at or {}
    names = dict.fromkeys((*(products or DEFAULT_PRODUCTS), *null_products, *listings))
    return {
        name: simulated_market(
            "null" if name in null_products else kind,
            name,
            seed,
            best_accuracy=best_accuracy,
            listed_at=listings.get(name),
        )
        for name in names
    }


def describe(markets: Mapping[str, Market], present: Present) -> list[str]:
    """Return one line for each product, and one for the clock."""
    lines = [f"{name}: {_described(market)}" for name, market in markets.items()]
    clock = "stepped" if present.is_stepped else "simulated" if present.is_simulated else "the machine's"
    return [*lines, f"present {present.now():%Y-%m-%d %H:%M:%S} UTC, clock {clock}; none of these prices is live"]


def _described(market: Market) -> str:
    if isinstance(market, SimulatedMarket):
        best = f"best possible accuracy {market.best_accuracy:.3f} (direction over 15 minutes)"
        return f"{market.kind}, {best if market.kind == 'planted' else 'no edge at all'}"
    if isinstance(market, RecordedMarket):
        return f"recorded, {market.span}"
    return market.kind


def _start(text: str, markets: Mapping[str, Market], *, stepped: bool, speed: float) -> datetime | None:
    """Return the present to begin with; None for the machine's clock."""
    if text:
        return parse_moment(text, "--start")
    ends = [span.end for span in _recordings(markets).values()]
    if ends:
        return min(ends)
    return floor_minute(datetime.now(UTC)) if stepped or speed != 1.0 else None


def _recordings(markets: Mapping[str, Market]) -> dict[str, Span]:
    return {name: market.span for name, market in markets.items() if isinstance(market, RecordedMarket)}


def _covering(markets: dict[str, Market], moment: datetime) -> dict[str, Market]:
    """Leave out recordings that do not reach ``moment``, unless none does."""
    kept = {name: span for name, span in _recordings(markets).items() if span.start < moment <= span.end}
    return {name: markets[name] for name in kept} or markets


def _checked(moment: datetime | None, markets: Mapping[str, Market]) -> datetime | None:
    """Refuse a present at which a product has no history.

    Raises:
        ConfigError: naming the product and where its history lies.
    """
    if moment is None:
        return None
    recordings = _recordings(markets)
    for name, span in recordings.items():
        if not span.start < moment <= span.end:
            msg = f"--start {moment:%Y-%m-%d %H:%M} lies outside the recorded candles of {name}, {span}; choose a time inside"
            raise ConfigError(msg)
    if not recordings and moment <= EPOCH:
        msg = f"--start {moment:%Y-%m-%d} is before {EPOCH:%Y-%m-%d}, where the simulated markets begin; choose a later time"
        raise ConfigError(msg)
    return moment


def _split(values: Sequence[str] | None) -> list[str]:
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def _listings(values: Sequence[str] | None) -> dict[str, datetime]:
    pairs = [value.partition("=") for value in values or ()]
    return {name: parse_moment(text, "--listed-at") for name, _, text in pairs}
