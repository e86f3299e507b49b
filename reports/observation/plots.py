"""Draw the pictures of an observation; each says in words why it is empty when it is."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.dates import date2num
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from reports.page.figure import COLORS, EMPTY_SIZE, SERIES, say_empty, sheet, utc_axis
from runtime.risk.execution_costs import exact
from runtime.risk.firm_rules import AccountMarks, rules_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from core.settings import Settings
    from models.statistics.sequential import Share
    from reports.observation.record import Record
    from reports.observation.record_rows import EquityPoint, ObservedSignal
    from reports.page.document import Picture

TIERS = ("high", "medium", "low")
_TIER_COLORS = {"high": "blue", "medium": "sky", "low": "grey"}
_MARKS: tuple[tuple[str, bool | None, str, str, str], ...] = (
    ("long", True, "^", "blue", "long, right"),
    ("short", True, "v", "blue", "short, right"),
    ("long", False, "^", "red", "long, wrong"),
    ("short", False, "v", "red", "short, wrong"),
    ("long", None, "^", "", "still open"),
    ("short", None, "v", "", "still open"),
)
"""Side, outcome, marker, colour (none for a hollow one) and what the legend calls it."""


def column(rows: Iterable[object], name: str) -> list[Any]:
    """Return one field of every row; as Any, for matplotlib draws moments that its types refuse."""
    return [getattr(row, name) for row in rows]


def product_color(products: Sequence[str], product: str) -> str:
    """Return the colour a product has in every picture."""
    return COLORS[SERIES[products.index(product) % len(SERIES)]]


def price_with_signals(record: Record) -> Picture:
    """Draw each product's price with its signals: up or down for the side, filled colour for the outcome."""
    products = record.extent.products
    caption = (
        "Triangles up are long, down are short, at the price of the minute decided on. Blue ended in the signal's direction, "
        "orange-red against it, hollow is still open. Prices are each minute's close, thinned for the page."
    )
    with sheet("price", "price of each product with its signals", caption, (10, 1.9 * len(products) + 0.7)) as page:
        panels = page.figure.subplots(len(products), 1, sharex=True, squeeze=False)[:, 0]
        for axes, product in zip(panels, products, strict=True):
            _price_panel(axes, record, product)
        utc_axis(panels[-1])
        _price_legend(page.figure)
    return page.picture


def _price_panel(axes: Axes, record: Record, product: str) -> None:
    prices = [row for row in record.prices if row.product == product]
    signals = [row for row in record.signals if row.product == product]
    axes.set_title(f"{product}  ({len(signals)} signals)" if signals else f"{product}  (no signal)")
    axes.set_ylabel(f"price ({product.partition('-')[2]})")
    axes.yaxis.set_major_formatter("{x:,g}")
    if not prices:
        say_empty(axes, "no candle was seen in this span")
        return
    axes.plot(column(prices, "open_time"), column(prices, "close"), color=COLORS["grey"], linewidth=1.0)
    for side, is_win, marker, color, _ in _MARKS:
        rows = [row for row in signals if (row.direction, row.is_win) == (side, is_win)]
        face, edge = (COLORS[color], COLORS[color]) if color else ("none", COLORS["ink"])
        look: dict[str, Any] = {"facecolor": face, "edgecolor": edge, "linewidth": 0.9, "alpha": 0.85, "zorder": 3}
        axes.scatter(column(rows, "open_time"), column(rows, "entry_price"), s=26, marker=marker, **look)


def _price_legend(figure: Figure) -> None:
    handles = []
    for *_, marker, color, label in _MARKS[:5]:
        face, edge = (COLORS[color], COLORS[color]) if color else ("none", COLORS["ink"])
        look: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": edge}
        handles.append(Line2D([], [], linestyle="none", marker=marker, label=label, **look))
    figure.legend(handles=handles, loc="outside upper right", ncols=5)


def equity(record: Record, settings: Settings) -> Picture:
    """Draw the paper account beside the lines it must not cross, and how much of each limit was in use."""
    caption = (
        f"The paper account with open positions at their cost to close, beside the limits of {rules_from(settings).title}, "
        f"whose day begins at {rules_from(settings).reset_time:%H:%M} {rules_from(settings).reset_zone.key}; at a stop no further signal is made, the limit itself is the firm's."
    )
    with sheet("equity", "equity of the paper account with its loss limits", caption, (10, 4.8)) as page:
        above, below = page.figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.4])
        rows = record.equity
        if not rows:
            say_empty(above, "the account was not marked in this span")
            say_empty(below, "")
        else:
            _equity_lines(above, rows, settings)
            _limit_use(below, rows, settings)
        utc_axis(below)
    return page.picture


def _equity_lines(axes: Axes, rows: Sequence[EquityPoint], settings: Settings) -> None:
    times, rules = column(rows, "marked_at"), rules_from(settings)
    axes.plot(times, column(rows, "equity_usd"), color=COLORS["blue"], label="equity", linewidth=1.6)
    marks = [_marks(row) for row in rows]
    for rule, color in zip((rules.daily_loss, rules.total_loss), ("orange", "purple"), strict=True):
        base = np.array([float(rule.base_usd(own, rules.capital)) for own in marks])
        stop, limit = (
            np.array([float(loss(own, rules.capital)) for own in marks]) for loss in (rule.stop_usd, rule.limit_usd)
        )
        for kind, loss, pct, style in (("stop", stop, rule.stop_pct, "--"), ("limit", limit, rule.limit_pct, "-")):
            look: dict[str, Any] = {"color": COLORS[color], "linestyle": style, "linewidth": 1.1}
            axes.plot(times, base - loss, label=f"{rule.name} {kind} {pct:f} %", drawstyle="steps-post", **look)
    axes.set_title("Paper account")
    axes.set_ylabel("USD")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.margins(y=0.08)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _marks(row: EquityPoint) -> AccountMarks:
    return AccountMarks(
        *map(
            exact,
            (row.day_start_balance_usd, row.day_start_equity_usd, row.highest_day_start_usd, row.highest_equity_usd),
        )
    )


def _limit_use(axes: Axes, rows: Sequence[EquityPoint], settings: Settings) -> None:
    times = column(rows, "marked_at")
    axes.plot(times, column(rows, "daily_used_pct"), color=COLORS["orange"], label="of the daily limit")
    axes.plot(times, column(rows, "total_used_pct"), color=COLORS["purple"], label="of the total limit")
    top = max(max(row.daily_used_pct, row.total_used_pct) for row in rows)
    axes.set_ylim(0, max(10.0, min(110.0, top * 1.25)))
    rule = rules_from(settings).daily_loss
    stop = float(100 * rule.stop_pct / rule.limit_pct)
    if top > 60:
        axes.axhline(stop, color=COLORS["soft"], linestyle=":", linewidth=1)
    axes.set_title("Share of a limit in use")
    axes.set_ylabel("%")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def tier_mix(shares: Mapping[str, Share], expected: Mapping[str, float] | None) -> Picture:
    """Draw the observed share of each tier with its interval beside the baseline's."""
    caption = "Share of scored minutes in each tier, with 95 % intervals that hold at every look (four hours count as one value), beside the backtest's baseline."
    with sheet("tiers", "tier mix beside its baseline", caption, (10, 2.5) if shares else EMPTY_SIZE) as page:
        axes = page.figure.subplots()
        if not shares:
            say_empty(axes, "no minute was scored: a model must be loaded and candles be fresh")
        else:
            _tier_bars(axes, shares, expected or {})
    return page.picture


def _tier_bars(axes: Axes, shares: Mapping[str, Share], expected: Mapping[str, float]) -> None:
    for row, tier in enumerate(TIERS):
        share, at, below = shares[tier], row - 0.17, row + 0.19
        value, low, high = 100 * share.value, 100 * share.low, 100 * share.high
        axes.barh(at, value, 0.32, color=COLORS[_TIER_COLORS[tier]])
        reach = [[value - low], [high - value]]
        axes.errorbar(value, at, xerr=reach, color=COLORS["ink"], capsize=3, linewidth=1.1)
        axes.text(high + 0.8, at, f"{value:.1f} %", va="center", fontsize=9)
        if tier in expected:
            promised = 100 * expected[tier]
            axes.barh(below, promised, 0.24, facecolor="none", edgecolor=COLORS["soft"], linewidth=1.1)
            note = f"baseline {promised:.1f} %"
            axes.text(promised + 0.8, below, note, va="center", fontsize=8.5, color=COLORS["soft"])
    axes.set_yticks(range(len(TIERS)), TIERS)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of scored minutes (%)")
    axes.margins(x=0.12)


def pace_and_confidence(record: Record, settings: Settings) -> Picture:
    """Draw signals per hour, and how confident the scored minutes were."""
    caption = (
        f"Left: signals made in each UTC hour. Right: scored minutes by confidence (log scale); from {settings.emit_threshold:g} on "
        "(dashed) a minute may become a signal."
    )
    size = (10, 3.2) if record.signals or record.confidence else (10, 1.3)
    with sheet("pace", "signals per hour and confidence distribution", caption, size) as page:
        left, right = page.figure.subplots(1, 2, width_ratios=[1.35, 1])
        _pace_panel(left, record)
        _confidence_panel(right, record, settings)
    return page.picture


def _pace_panel(axes: Axes, record: Record) -> None:
    axes.set_title("Signals per hour")
    counts: dict[str, dict[datetime, int]] = defaultdict(lambda: defaultdict(int))
    for row in record.signals:
        counts[row.product][row.open_time.replace(minute=0, second=0)] += 1
    if not counts:
        say_empty(axes, "no signal was made in this span")
        return
    first = record.since.replace(minute=0, second=0)
    hours = [first + timedelta(hours=step) for step in range((record.until - first) // timedelta(hours=1) + 1)]
    base = np.zeros(len(hours))
    for product in sorted(counts):
        heights = np.array([counts[product][hour] for hour in hours], dtype=float)
        color = product_color(record.extent.products, product)
        places = date2num(hours)  # type: ignore[no-untyped-call]
        axes.bar(places, heights, width=0.87 / 24, align="edge", bottom=base, color=color, label=product)
        base += heights
    axes.set_ylabel("signals")
    axes.set_ylim(0, max(base) * 1.3)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", ncols=3)
    utc_axis(axes)


def _confidence_panel(axes: Axes, record: Record, settings: Settings) -> None:
    axes.set_title("Confidence of scored minutes")
    rows = record.confidence
    if not rows:
        say_empty(axes, "no minute was scored in this span")
        return
    edges = np.arange(0.5, 1.0, 0.01)
    for product in dict.fromkeys(row.product for row in rows):
        heights = np.zeros(len(edges))
        for row in rows:
            if row.product == product:
                heights[min(len(edges) - 1, round((row.confidence_from - 0.5) * 100))] += row.decisions
        axes.step(
            edges,
            np.where(heights > 0, heights, np.nan),
            where="post",
            color=product_color(record.extent.products, product),
            label=product,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axvline(settings.emit_threshold, color=COLORS["soft"], linestyle="--", linewidth=1)
    axes.set_xlabel("confidence, max(p, 1 - p)")
    axes.set_ylabel("minutes (log)")
    axes.set_xlim(0.5, 1.0)
    axes.legend(loc="upper right")


def cumulative_net(record: Record) -> Picture:
    """Draw what the closed signals added up to, after costs by product, and before costs in all."""
    caption = "Sum over closed signals in basis points of position size, by the time each was closed; solid after spread, slippage and fee, dashed before."
    closed = sorted(record.closed, key=lambda row: row.closed_at or record.until)
    with sheet("net", "cumulative result of the signals", caption, (10, 3.2) if closed else EMPTY_SIZE) as page:
        axes = page.figure.subplots()
        if not closed:
            say_empty(axes, "no signal has closed in this span")
        else:
            _net_lines(axes, closed, record.extent.products)
    return page.picture


def _net_lines(axes: Axes, closed: Sequence[ObservedSignal], products: Sequence[str]) -> None:
    axes.axhline(0, color=COLORS["soft"], linewidth=0.9)

    def line(rows: Sequence[ObservedSignal], field: str, label: str, **look: Any) -> None:  # noqa: ANN401  # matplotlib's own
        total = np.cumsum(column(rows, field))
        axes.step(column(rows, "closed_at"), total, where="post", label=label, **look)

    for product in products:
        if rows := [row for row in closed if row.product == product]:
            line(rows, "net_bps", f"{product} net", color=product_color(products, product))
    line(closed, "net_bps", "all, net", color=COLORS["ink"], linewidth=1.8)
    line(closed, "gross_bps", "all, before costs", color=COLORS["ink"], linestyle="--", linewidth=1.1)
    axes.set_ylabel("cumulative bps")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    utc_axis(axes)
