"""The pictures of judged models: how true the probability is, and what confidence buys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.page.figure import COLORS, EMPTY_SIZE, SERIES, say_empty, sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from models.gates.judgement import ReliabilityPoint
    from reports.models.model_card import ModelCard, ProductCard
    from reports.page.document import Picture

_COLUMNS = 3


def reliability(cards: Sequence[ModelCard], name: str = "reliability") -> Picture:
    """Draw predicted against observed frequency, one panel per model and product."""
    panels = [(model, card) for model in cards for card in model.cards]
    columns = min(_COLUMNS, max(len(panels), 1))
    rows = -(-max(len(panels), 1) // columns)
    caption = (
        "Test minutes in bins of predicted probability: on the diagonal a probability of 70 % came true 70 times in 100. "
        "Larger points hold more minutes; bars are 95 % intervals where they were computed. Grey rings are the network itself, "
        "before its calibration."
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
    points, before = card.curves.reliability_equal_mass, card.curves.reliability_before
    if not points:
        say_empty(axes, "the passport has no\nreliability curve")
        return
    span = _span((*points, *before))
    axes.plot(span, span, color=COLORS["soft"], linestyle="--", linewidth=1)
    axes.plot(
        [point.mean_probability for point in before],
        [point.up_share for point in before],
        color=COLORS["grey"],
        linestyle=":",
        linewidth=1,
        marker="o",
        markerfacecolor="none",
        markersize=5,
    )
    for point in points:
        if point.low_95 is not None and point.high_95 is not None:
            ends = [point.low_95, point.high_95]
            axes.plot([point.mean_probability] * 2, ends, color=COLORS["blue"], linewidth=1, alpha=0.6)
    x, y = [point.mean_probability for point in points], [point.up_share for point in points]
    largest = max(point.row_count for point in points)
    axes.plot(x, y, color=COLORS["blue"], linewidth=1)
    axes.scatter(x, y, s=[14 + 50 * point.row_count / largest for point in points], color=COLORS["blue"], zorder=3)
    axes.set_xlim(*span)
    axes.set_ylim(*span)
    axes.set_box_aspect(1)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed frequency")


def _span(points: Sequence[ReliabilityPoint]) -> tuple[float, float]:
    """Return one range for both axes, centred on 0.5, that holds every point."""
    reach = max(0.06, *(abs(value - 0.5) for point in points for value in (point.mean_probability, point.up_share)))
    return max(0.0, 0.5 - 1.12 * reach), min(1.0, 0.5 + 1.12 * reach)


def coverage(cards: Sequence[ModelCard], name: str = "coverage") -> Picture:
    """Draw accuracy against coverage: how right each model is on its most confident minutes."""
    caption = (
        "Accuracy on the test minutes a model is most confident about, from the top few percent (left) to all of them (right). "
        "Bands are 95 % block-bootstrap intervals where they were computed, the dotted line is a coin flip; transformers are "
        "dashed. A thin dash-dotted line is the accuracy at which an average move of those minutes pays that product's costs; "
        "where none is drawn, no accuracy does."
    )
    curves = [(model, card) for model in cards for card in model.cards if card.curves.coverage]
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
        drawn = [(point.coverage, point) for point in card.curves.coverage if point.value is not None]
        points = sorted(drawn, key=lambda pair: pair[0])
        color = COLORS[SERIES[products.index(card.product) % len(SERIES)]]
        style = "--" if model.architecture == "transformer" else "-"
        shares, values = [100 * share for share, _ in points], [100 * (point.value or 0.0) for _, point in points]
        label = f"{model.architecture}, {card.product}"
        axes.plot(shares, values, color=color, linestyle=style, marker="o", markersize=3.5, label=label)
        known = [(x, p.low_95, p.high_95) for x, p in points if p.low_95 is not None and p.high_95 is not None]
        lows, highs = [100 * low for _, low, _ in known], [100 * high for _, _, high in known]
        axes.fill_between([100 * x for x, _, _ in known], lows, highs, color=color, alpha=0.10, linewidth=0)
        _break_even(axes, card, color)
    axes.axhline(50, color=COLORS["soft"], linestyle=":", linewidth=1)
    axes.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("coverage: most confident share of minutes (%, log)")
    axes.set_ylabel("accuracy (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _break_even(axes: Axes, card: ProductCard, color: str) -> None:
    needs = ((point.coverage, point.break_even_accuracy) for point in card.curves.coverage)
    paying = sorted((share, needed) for share, needed in needs if needed is not None and needed <= 1)
    if paying:
        axes.plot(
            [100 * x for x, _ in paying], [100 * y for _, y in paying], color=color, linestyle="-.", linewidth=0.8
        )
        return
    needed = card.metric("break_even_accuracy").value
    if needed is not None and needed < 1:
        axes.axhline(100 * needed, color=color, linestyle="-.", linewidth=0.8)


def slices(card: ProductCard, kind: str, name: str) -> Picture:
    """Draw accuracy, and what the forecast gains over the base rate, by month or session, with their intervals."""
    values = card.slices(kind)
    caption = (
        f"By {kind} of the test part, with 95 % block-bootstrap intervals where they were computed. Left: accuracy; the grey mark "
        "is the base rate of those minutes. Right: log loss saved against always saying the base rate of training; above 0 is "
        "better. A slice of too few minutes is left empty."
    )
    with sheet(name, f"accuracy and gain by {kind}", caption, (10, 2.8) if values else EMPTY_SIZE) as page:
        if not values:
            say_empty(page.figure.subplots(), f"the passport has no figure by {kind}")
        else:
            left, right = page.figure.subplots(1, 2)
            _slice_points(left, card, kind, "accuracy", 100.0)
            _base_rates(left, card, kind)
            left.axhline(50, color=COLORS["soft"], linestyle="--", linewidth=1)
            left.set_ylabel("accuracy (%)")
            _slice_points(right, card, kind, "log_loss_less_base_rate", -1000.0)
            right.axhline(0, color=COLORS["soft"], linestyle="--", linewidth=1)
            right.set_ylabel("log loss saved (1/1000)")
    return page.picture


def _slice_points(axes: Axes, card: ProductCard, kind: str, name: str, scale: float) -> None:
    values = card.slices(kind)
    for position, value in enumerate(values):
        metric = card.metric(name, f"{kind}={value}")
        if metric.value is None:
            continue
        if metric.low is not None and metric.high is not None:
            axes.plot(
                [position, position], [scale * metric.low, scale * metric.high], color=COLORS["blue"], linewidth=1.4
            )
        axes.scatter(position, scale * metric.value, color=COLORS["blue"], s=32, zorder=3)
    axes.set_xticks(range(len(values)), [value.replace("_", " ") for value in values])
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_xlabel(f"{kind} (UTC)")


def _base_rates(axes: Axes, card: ProductCard, kind: str) -> None:
    for position, value in enumerate(card.slices(kind)):
        rate = card.metric("base_rate", f"{kind}={value}").value
        if rate is not None:
            axes.plot([position - 0.2, position + 0.2], [100 * rate, 100 * rate], color=COLORS["grey"], linewidth=2)
