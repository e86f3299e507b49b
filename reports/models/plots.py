"""The pictures of judged models: how true the probability is, and what confidence buys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.page.figure import COLORS, EMPTY_SIZE, SERIES, say_empty, sheet
from reports.page.formatting import as_float

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from reports.models.model_card import ModelCard, Point, ProductCard
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
    if not card.reliability:
        say_empty(axes, "the passport has no\nreliability curve")
        return
    span = _span((*card.reliability, *card.reliability_before))
    axes.plot(span, span, color=COLORS["soft"], linestyle="--", linewidth=1)
    axes.plot(
        [point.x for point in card.reliability_before],
        [point.y for point in card.reliability_before],
        color=COLORS["grey"],
        linestyle=":",
        linewidth=1,
        marker="o",
        markerfacecolor="none",
        markersize=5,
    )
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
        "dashed. A thin dash-dotted line is the accuracy at which an average move of those minutes pays that product's costs; "
        "where none is drawn, no accuracy does."
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
    paying = sorted(
        (point.x, point.needed) for point in card.coverage if point.needed is not None and point.needed <= 1
    )
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
    for place, value in enumerate(values):
        metric = card.metric(name, f"{kind}={value}")
        if metric.value is None:
            continue
        if metric.low is not None and metric.high is not None:
            axes.plot([place, place], [scale * metric.low, scale * metric.high], color=COLORS["blue"], linewidth=1.4)
        axes.scatter(place, scale * metric.value, color=COLORS["blue"], s=32, zorder=3)
    axes.set_xticks(range(len(values)), [value.replace("_", " ") for value in values])
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_xlabel(f"{kind} (UTC)")


def _base_rates(axes: Axes, card: ProductCard, kind: str) -> None:
    for place, value in enumerate(card.slices(kind)):
        rate = card.metric("base_rate", f"{kind}={value}").value
        if rate is not None:
            axes.plot([place - 0.2, place + 0.2], [100 * rate, 100 * rate], color=COLORS["grey"], linewidth=2)


def training_curve(model: ModelCard, name: str = "training") -> Picture:
    """Draw the losses of a training against the windows it had seen, each member of an ensemble by itself."""
    caption = (
        "Log loss while training, by windows seen. Solid: the early-stop part, by which the kept weights are chosen; dotted: the "
        "training windows themselves, whose loss counts dropout, and for transformers the error of the return. Dashed: a coin flip."
    )
    curves = _curves(model)
    with sheet(name, "training curve", caption, (10, 3.0) if curves else EMPTY_SIZE) as page:
        axes = page.figure.subplots()
        if not curves:
            say_empty(axes, "the passport holds no training history")
        else:
            _loss_lines(axes, curves)
    return page.picture


def _curves(model: ModelCard) -> dict[int, list[tuple[float, float, float | None]]]:
    """Return per member (windows in thousands, early-stop log loss, training loss)."""
    found: dict[int, list[tuple[float, float, float | None]]] = {}
    for place, entry in enumerate(model.history):
        watched, windows = as_float(entry.get("early_stop_log_loss")), as_float(entry.get("windows"))
        if watched is not None:
            seen = (place + 1.0) if windows is None else windows / 1000
            point = (seen, watched, as_float(entry.get("train_loss")))
            found.setdefault(int(as_float(entry.get("member")) or 1), []).append(point)
    return found


def _loss_lines(axes: Axes, curves: dict[int, list[tuple[float, float, float | None]]]) -> None:
    for place, (member, points) in enumerate(sorted(curves.items())):
        color = COLORS[SERIES[place % len(SERIES)]]
        label = "early-stop part" if len(curves) == 1 else f"member {member}"
        axes.plot(
            [x for x, _, _ in points], [y for _, y, _ in points], color=color, marker="o", markersize=3, label=label
        )
        best = min(points, key=lambda point: point[1])
        axes.scatter(best[0], best[1], s=60, facecolors="none", edgecolors=color, zorder=3)
        trained = [(x, loss) for x, _, loss in points if loss is not None and loss < 1]
        axes.plot([x for x, _ in trained], [y for _, y in trained], color=color, linestyle=":", linewidth=1)
    axes.axhline(0.693147, color=COLORS["soft"], linestyle="--", linewidth=1)
    axes.set_xlabel("training windows seen (thousands)")
    axes.set_ylabel("log loss")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
