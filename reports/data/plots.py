"""Draw the pictures of the data page: coverage calendars, prices, label base rates, features, the data set's parts.

Suffixes of arrays: N rows, F features. Each picture says in words why it is empty when it is.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap, TwoSlopeNorm
from matplotlib.patches import Patch

from models.statistics.stability import SHIFTED, sample_shift
from reports.page.figure import COLORS, EMPTY_SIZE, SERIES, say_empty, sheet, utc_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from core.dataset_files import DatasetManifest
    from reports.page.document import Picture

    Rows = Sequence[Mapping[str, Any]]

_STATES = (
    ("stored", "every minute stored", "#0072b2"),
    ("empty", "stored but for minutes without a trade", "#3f9fd6"),
    ("mostly_empty", "half or more without a trade", "#c9d9e6"),
    ("quarantined", "some quarantined", "#d98200"),
    ("failed", "some failed", "#d55e00"),
    ("unasked", "some not asked for", "#7d8896"),
)
_MIN_WEEKS = 26


def day_state(row: Mapping[str, Any]) -> str:
    """Return the worst that a day has a minute of: failed, quarantined, unasked, mostly_empty, empty or stored."""
    for state in ("failed", "quarantined", "unasked"):
        if row[f"{state}_minutes"]:
            return state
    empty = row["empty_minutes"]
    return "mostly_empty" if 2 * empty >= empty + row["stored_minutes"] else "empty" if empty else "stored"


def coverage_calendar(days: Rows) -> Picture:
    """Draw one cell per UTC day: weeks from left to right, Monday on top, in the colour of the day's worst minute."""
    products = sorted({row["product"] for row in days})
    caption = (
        "One cell is one UTC day, one column one week, Monday on top. The colour is the worst that any minute of the day is: "
        "failed, then quarantined, then not asked for."
    )
    size = (10, 1.05 * len(products) + 1.0) if days else EMPTY_SIZE
    with sheet("coverage", "coverage of each product by day", caption, size) as page:
        panels = page.figure.subplots(max(len(products), 1), 1, sharex=True, squeeze=False)[:, 0]
        if not days:
            say_empty(panels[0], "no minute was asked for yet; run: make backfill")
        else:
            first = min(row["day"] for row in days)
            monday = first - timedelta(days=first.weekday())
            weeks = max((max(row["day"] for row in days) - monday).days // 7 + 1, _MIN_WEEKS)
            for axes, product in zip(panels, products, strict=True):
                _calendar(axes, product, [row for row in days if row["product"] == product], monday, weeks)
            _month_ticks(panels[-1], monday, weeks)
            handles = [Patch(facecolor=color, label=words) for _, words, color in _STATES]
            page.figure.legend(handles=handles, loc="outside upper left", ncols=3, handlelength=1.0, handleheight=1.0)
    return page.picture


def _calendar(axes: Axes, product: str, days: Rows, monday: date, weeks: int) -> None:
    number_of = {state: number for number, (state, _, _) in enumerate(_STATES)}
    cells = np.full((7, weeks), np.nan)
    for row in days:
        since = (row["day"] - monday).days
        cells[since % 7, since // 7] = number_of[day_state(row)]
    colors = ListedColormap([color for _, _, color in _STATES])
    edges = np.arange(weeks + 1) - 0.5, np.arange(8) - 0.5
    axes.pcolormesh(
        *edges,
        np.ma.masked_invalid(cells),
        cmap=colors,
        vmin=-0.5,
        vmax=len(_STATES) - 0.5,
        edgecolors="white",
        linewidth=0.5,
    )
    axes.invert_yaxis()
    stored, there = (sum(row[name] for row in days) for name in ("stored_minutes", "empty_minutes"))
    total = sum(
        row[f"{name}_minutes"] for row in days for name in ("stored", "empty", "quarantined", "failed", "unasked")
    )
    axes.set_title(f"{product}: {stored:,} of {total - there:,} minutes the exchange may have are stored")
    axes.set_yticks([0, 2, 4, 6], ["Mon", "Wed", "Fri", "Sun"], fontsize=7)
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _month_ticks(axes: Axes, monday: date, weeks: int) -> None:
    months = [
        monday + timedelta(days=number) for number in range(7 * weeks) if (monday + timedelta(days=number)).day == 1
    ]
    step = max(1, -(-len(months) // 9))
    shown = months[::step]
    axes.set_xticks([(day - monday).days // 7 for day in shown], [f"{day:%b %Y}" for day in shown])
    axes.set_xlabel("week (UTC)")


def prices(bars: Rows, minutes: int) -> Picture:
    """Draw each product's price as its bars' range and close, with the money traded below."""
    products = sorted({row["product"] for row in bars})
    length = "day" if minutes == 1_440 else "hour" if minutes == 60 else f"{minutes} minutes"
    caption = (
        f"Price: the line is the last close of each {length}, the band its lowest to highest trade; the scale is logarithmic. Volume: "
        f"what was traded per {length}, close times volume, in the quote currency."
    )
    with sheet(
        "prices", "price and volume of each product", caption, (10, 1.9 * len(products) + 0.4) if bars else EMPTY_SIZE
    ) as page:
        panels = page.figure.subplots(max(len(products), 1), 2, squeeze=False, width_ratios=[1.7, 1])
        if not bars:
            say_empty(panels[0][0], "no candle is stored yet; run: make backfill")
            say_empty(panels[0][1], "")
        for number, (pair, product) in enumerate(zip(panels, products, strict=False)):
            mine = [row for row in bars if row["product"] == product]
            color = COLORS[SERIES[number % len(SERIES)]]
            _price(pair[0], product, mine, color)
            _volume(pair[1], product, mine, (color, minutes / 1_440, length))
            for axes in pair:
                utc_axis(axes)
                axes.set_xlabel("time (UTC)" if number == len(products) - 1 else "")
    return page.picture


def _price(axes: Axes, product: str, bars: Rows, color: str) -> None:
    times = [row["open_time"] for row in bars]
    low, high = min(row["low"] for row in bars), max(row["high"] for row in bars)
    axes.fill_between(
        times, [row["low"] for row in bars], [row["high"] for row in bars], color=color, alpha=0.25, linewidth=0
    )
    axes.plot(times, [row["close"] for row in bars], color=color, linewidth=1.1)
    if high > 3 * low:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter("")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_title(product)
    axes.set_ylabel(f"price ({product.partition('-')[2]})")


def _volume(axes: Axes, product: str, bars: Rows, look: tuple[str, float, str]) -> None:
    color, days, length = look
    largest = max(row["volume_usd"] for row in bars)
    scale, unit = next(
        ((size, name) for size, name in ((1e9, " bn"), (1e6, " m"), (1e3, " k")) if largest >= size), (1, "")
    )
    # one collection: bars as patches take seconds to lay out
    width = min(6.0, 240 * days / max(days, (bars[-1]["open_time"] - bars[0]["open_time"]) / timedelta(days=1)))
    times, sizes = [row["open_time"] for row in bars], [row["volume_usd"] / scale for row in bars]
    axes.vlines(times, 0, sizes, color=color, linewidth=max(0.5, width))
    axes.set_ylim(0)
    axes.set_ylabel(f"{unit} {product.partition('-')[2]} per {length}".strip())


def label_rates(rates: Rows, bucket: str) -> Picture:
    """Draw the share of minutes whose close is higher fifteen minutes later, with 95 % intervals."""
    products = sorted({row["product"] for row in rates})
    caption = (
        f"Share of labelled minutes whose close 15 minutes later is higher, by {bucket}. Bars are 95 % intervals that count fifteen overlapping "
        "minutes as one observation. A model has to beat the higher of this and its complement."
    )
    with sheet("labels", "label base rate", caption, (10, 3.0) if rates else EMPTY_SIZE) as page:
        axes = page.figure.subplots()
        if not rates:
            say_empty(axes, "no minute has a label yet: both ends, 15 minutes apart, must be real candles")
        else:
            _rates(axes, products, rates)
    return page.picture


def _rates(axes: Axes, products: Sequence[str], rates: Rows) -> None:
    starts = sorted({row["start"] for row in rates})
    width = 0.7 / len(products)
    for number, product in enumerate(products):
        mine = [row for row in rates if row["product"] == product]
        share_N = np.array([row["rises"] / row["labels"] for row in mine])
        reach_N = 1.96 * np.sqrt(share_N * (1 - share_N) / np.maximum([row["labels"] / 15 for row in mine], 1))
        places = [starts.index(row["start"]) + (number - (len(products) - 1) / 2) * width for row in mine]
        axes.errorbar(
            places,
            100 * share_N,
            yerr=100 * reach_N,
            fmt="o",
            markersize=3.5,
            linewidth=1.1,
            color=COLORS[SERIES[number % len(SERIES)]],
            label=product,
        )
    axes.axhline(50, color=COLORS["soft"], linestyle=":", linewidth=1)
    step = max(1, -(-len(starts) // 7))
    form = "%b %Y" if starts[0].day == 1 and len(starts) > 1 and (starts[1] - starts[0]).days > 20 else "%d %b %Y"
    axes.set_xticks(range(0, len(starts), step), [f"{day:{form}}" for day in starts[::step]])
    axes.set_ylabel("higher after 15 min (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def feature_histograms(
    early_NF: NDArray[np.float32], late_NF: NDArray[np.float32], columns: Sequence[str], words: tuple[str, str]
) -> Picture:
    """Draw each feature's distribution in the first days beside that in the last ones."""
    caption = (
        f"Each panel: share of minutes by value, {words[0]} filled, {words[1]} as a line, all products together. The axis spans the middle "
        f"99 % of both; what lies outside counts at its edge; columns in prices have a hump for each product. psi is the population stability index of the two (ten bins; above {SHIFTED:g} is a shift)."
    )
    across, down = 4, -(-len(columns) // 4)
    is_empty = not len(early_NF) or not len(late_NF)
    with sheet(
        "features", "feature distributions", caption, EMPTY_SIZE if is_empty else (10, 1.45 * down + 0.5)
    ) as page:
        if is_empty:
            say_empty(page.figure.subplots(), "no minute has features yet: history is shorter than their warm-up")
        else:
            panels = page.figure.subplots(down, across, squeeze=False).ravel()
            for number, axes in enumerate(panels):
                if number < len(columns):
                    _histogram(axes, columns[number], early_NF[:, number], late_NF[:, number])
                else:
                    axes.set_axis_off()
            handles = [
                Patch(facecolor=COLORS["sky"], alpha=0.5, label=words[0]),
                Patch(facecolor="none", edgecolor=COLORS["red"], label=words[1]),
            ]
            page.figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return page.picture


def _histogram(axes: Axes, name: str, early_N: NDArray[np.float32], late_N: NDArray[np.float32]) -> None:
    both_N = np.concatenate([early_N, late_N]).astype(np.float64)
    low, high = np.quantile(both_N, [0.005, 0.995])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 31)
    for values_N, style in (
        (early_N, {"histtype": "stepfilled", "color": COLORS["sky"], "alpha": 0.5}),
        (late_N, {"histtype": "step", "color": COLORS["red"], "linewidth": 1.0}),
    ):
        axes.hist(np.clip(values_N, low, high), edges, weights=np.full(len(values_N), 100 / len(values_N)), **style)  # type: ignore[arg-type]
    axes.set_title(f"{name}  psi {sample_shift(early_N, late_N):.2f}", fontsize=7.5)
    axes.tick_params(labelsize=6.5, length=2)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=4)
    axes.grid(visible=False)


def correlation(x_NF: NDArray[np.float32], columns: Sequence[str]) -> Picture:
    """Draw how the features correlate, pair by pair."""
    caption = (
        "Pearson correlation of each pair of features over the sampled minutes; blank where a feature does not vary."
    )
    with sheet(
        "correlation", "correlation of the features", caption, EMPTY_SIZE if len(x_NF) < 3 else (10, 8.6)
    ) as page:
        axes = page.figure.subplots()
        if len(x_NF) < 3:
            say_empty(axes, "no minute has features yet")
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                r_FF = np.corrcoef(x_NF.astype(np.float64), rowvar=False)
            edges = np.arange(len(columns) + 1) - 0.5
            mesh = axes.pcolormesh(
                edges, edges, np.ma.masked_invalid(r_FF), cmap="RdBu_r", norm=TwoSlopeNorm(0, -1, 1), rasterized=True
            )
            axes.invert_yaxis()
            axes.set_aspect("equal")
            axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
            axes.set_yticks(range(len(columns)), columns, fontsize=7)
            axes.grid(visible=False)
            page.figure.colorbar(mesh, ax=axes, shrink=0.6, label="correlation")
    return page.picture


_PART_COLORS = {"train": "blue", "early_stop": "green", "calibration": "orange", "test": "purple"}


def dataset_parts(manifest: DatasetManifest | None) -> Picture:
    """Draw a data set's parts and walk-forward folds on a time line."""
    caption = (
        "Above: the parts of the newest data set; at each border the minutes whose label would reach across are left out (purged). "
        "Below: its walk-forward folds, grey trained on, coloured judged."
    )
    size = EMPTY_SIZE if manifest is None else (10, 1.6 + 0.28 * len(manifest.folds))
    with sheet("dataset", "parts of the newest data set", caption, size) as page:
        axes = page.figure.subplots()
        if manifest is None:
            say_empty(axes, "no data set was exported yet, or its file is gone; run: make features")
        else:
            _parts(axes, manifest)
            utc_axis(axes)
    return page.picture


def _parts(axes: Axes, manifest: DatasetManifest) -> None:
    # matplotlib draws moments and spans of time, its types know numbers only
    span, inner = manifest.span, manifest.borders
    borders: list[Any] = [span.start, inner.early_stop, inner.calibration, inner.test, span.end]
    rows = Counter[str]()
    for counts in (manifest.rows or {}).values():
        rows.update(counts)
    for (part, color), since, until in zip(_PART_COLORS.items(), borders, borders[1:], strict=False):
        label = f"{part.replace('_', ' ')}: {rows[part]:,} rows"
        axes.barh(0, until - since, left=since, height=0.7, color=COLORS[color], label=label)
    for border in borders[1:-1]:
        axes.axvline(border, color=COLORS["ink"], linewidth=0.8, linestyle=":")
    for number, fold in enumerate(manifest.folds, 1):
        ends: list[Any] = [fold[name] for name in ("train_end", "test_start", "test_end")]
        axes.barh(number, ends[0] - borders[0], left=borders[0], height=0.55, color=COLORS["grid"])
        axes.barh(number, ends[2] - ends[1], left=ends[1], height=0.55, color=COLORS["sky"])
    numbers = range(1, len(manifest.folds) + 1)
    axes.set_yticks(range(len(manifest.folds) + 1), ["parts", *(f"fold {number}" for number in numbers)])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_title(f"{manifest.purge_minutes} minutes purged at each border")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
