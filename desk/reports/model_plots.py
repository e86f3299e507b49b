"""The pictures of judged models: how true the probability is, and what confidence buys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from desk.reports.canvas import COLORS, EMPTY_SIZE, SERIES, say_empty, sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from desk.reports.document import Picture
    from desk.reports.passports import Metric, ModelCard, Point, ProductCard

_COLUMNS = 3


def reliability(cards: Sequence[ModelCard], name: str = "reliability") -> Picture:
    """Draw predicted against observed frequency, one panel per model and product."""
    panels = [(model, card) for model in cards for card in model.cards]
    columns = min(_COLUMNS, max(len(panels), 1))
    rows = -(-max(len(panels), 1) // columns)
    caption = (
        "Test minutes in bins of predicted probability: on the diagonal a probability of 70 % came true 70 times in 100. "
        "Larger points hold more minutes; bars are 95 % intervals where they were computed."
    )
    with sheet(
        name, "reliability of each model's probability", caption, (10, 3.7 * rows) if panels else EMPTY_SIZE
    ) as page:
        grid = page.figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.axis("off")
        if not panels:
            grid[0].axis("on")
            say_empty(grid[0], "no model was judged")
        for axes, (model, card) in zip(grid, panels, strict=False):
            _reliability_panel(axes, model, card)
    return page.picture


def _reliability_panel(axes: Axes, model: ModelCard, card: ProductCard) -> None:
    axes.set_title(f"{model.architecture}, {card.product}")
    if not card.reliability:
        say_empty(axes, "the passport has no\nreliability curve")
        return
    span = _span(card.reliability)
    axes.plot(span, span, color=COLORS["soft"], linestyle="--", linewidth=1)
    largest = max((point.rows or 1) for point in card.reliability)
    for point in card.reliability:
        if point.low is not None and point.high is not None:
            axes.plot([point.x, point.x], [point.low, point.high], color=COLORS["blue"], linewidth=1, alpha=0.6)
    sizes = [14 + 50 * (point.rows or 1) / largest for point in card.reliability]
    axes.plot(
        [point.x for point in card.reliability],
        [point.y for point in card.reliability],
        color=COLORS["blue"],
        linewidth=1,
    )
    axes.scatter(
        [point.x for point in card.reliability],
        [point.y for point in card.reliability],
        s=sizes,
        color=COLORS["blue"],
        zorder=3,
    )
    axes.set_xlim(*span)
    axes.set_ylim(*span)
    axes.set_box_aspect(1)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed frequency")


def _span(points: Sequence[Point]) -> tuple[float, float]:
    """Return one range for both axes, centred on 0.5, that holds every point."""
    reach = max(0.06, *(abs(value - 0.5) for point in points for value in (point.x, point.y)))
    return max(0.0, 0.5 - 1.12 * reach), min(1.0, 0.5 + 1.12 * reach)


def coverage(cards: Sequence[ModelCard], name: str = "coverage") -> Picture:
    """Draw accuracy against coverage: how right each model is on its most confident minutes."""
    caption = (
        "Accuracy on the test minutes a model is most confident about, from the top few percent (left) to all of them (right). "
        "Bands are 95 % block-bootstrap intervals where they were computed, the dotted line is a coin flip; transformers are "
        "dashed. A thin dash-dotted line is the accuracy at which an average move pays that product's costs."
    )
    curves = [(model, card) for model in cards for card in model.cards if card.coverage]
    with sheet(name, "accuracy against coverage", caption, (10, 3.6) if curves else EMPTY_SIZE) as page:
        axes = page.figure.subplots()
        if not curves:
            say_empty(axes, "no passport has an accuracy-against-coverage curve")
        else:
            _coverage_lines(axes, curves)
    return page.picture


def _coverage_lines(axes: Axes, curves: Sequence[tuple[ModelCard, ProductCard]]) -> None:
    products = sorted({card.product for _, card in curves})
    for model, card in curves:
        points = sorted(card.coverage, key=lambda point: point.x)
        color = COLORS[SERIES[products.index(card.product) % len(SERIES)]]
        style = "--" if model.architecture == "transformer" else "-"
        times, values = [100 * point.x for point in points], [100 * point.y for point in points]
        axes.plot(
            times,
            values,
            color=color,
            linestyle=style,
            marker="o",
            markersize=3.5,
            label=f"{model.architecture}, {card.product}",
        )
        known = [point for point in points if point.low is not None and point.high is not None]
        if known:
            lows, highs = [100 * (point.low or 0.0) for point in known], [100 * (point.high or 0.0) for point in known]
            axes.fill_between([100 * point.x for point in known], lows, highs, color=color, alpha=0.10, linewidth=0)
        needed = card.metric("break_even_accuracy").value
        if needed is not None and needed < 1:
            axes.axhline(100 * needed, color=color, linestyle="-.", linewidth=0.8)
    axes.axhline(50, color=COLORS["soft"], linestyle=":", linewidth=1)
    axes.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("coverage: most confident share of minutes (%, log)")
    axes.set_ylabel("accuracy (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def slices(card: ProductCard, kind: str, name: str) -> Picture:
    """Draw accuracy by month or session with its intervals."""
    values = card.slices(kind)
    caption = f"Accuracy on the test part by {kind}, with 95 % block-bootstrap intervals where they were computed; the dashed line is a coin flip."
    figures = [(value, card.metric("accuracy", f"{kind}={value}")) for value in values]
    known = [(value, metric) for value, metric in figures if metric.value is not None]
    with sheet(name, f"accuracy by {kind}", caption, (10, 2.6) if known else EMPTY_SIZE) as page:
        axes = page.figure.subplots()
        if not known:
            say_empty(axes, f"the passport has no accuracy by {kind}")
        else:
            _slice_points(axes, known)
            axes.set_xlabel(f"{kind} (UTC)")
    return page.picture


def _slice_points(axes: Axes, known: Sequence[tuple[str, Metric]]) -> None:
    for place, (_, metric) in enumerate(known):
        if metric.low is not None and metric.high is not None:
            axes.plot([place, place], [100 * metric.low, 100 * metric.high], color=COLORS["blue"], linewidth=1.4)
        axes.scatter(place, 100 * (metric.value or 0.0), color=COLORS["blue"], s=32, zorder=3)
    axes.axhline(50, color=COLORS["soft"], linestyle="--", linewidth=1)
    axes.set_xticks(range(len(known)), [value.replace("_", " ") for value, _ in known])
    axes.set_xlim(-0.6, len(known) - 0.4)
    axes.set_ylabel("accuracy (%)")
