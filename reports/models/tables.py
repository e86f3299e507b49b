"""The tables of judged models: gates with what would change them, and the model beside its baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.page.document import Cell, Table
from reports.page.formatting import NOT_COMPUTED, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.models.model_card import Metric, ModelCard, ProductCard

BASELINE_METRICS = ("accuracy", "auc", "log_loss", "brier", "brier_skill", "ece_mass", "ece_width", "net_bps")
_TITLES = {
    "accuracy": "accuracy",
    "base_rate": "base rate",
    "break_even_accuracy": "break-even accuracy",
    "auc": "AUC",
    "log_loss": "log-loss",
    "brier": "Brier",
    "brier_skill": "Brier skill",
    "ece_mass": "ECE mass",
    "ece_width": "ECE width",
    "net_bps": "net bps",
    "log_loss_less_base_rate": "loss less base rate's",
    "log_loss_less_last_move_sign": "loss less last move's",
    "log_loss_less_logistic_regression": "loss less logistic's",
    "log_loss_less_gradient_boosting": "loss less boosting's",
}
SLICE_METRICS = (
    "accuracy",
    "base_rate",
    "auc",
    "log_loss",
    "brier",
    "brier_skill",
    "ece_mass",
    "ece_width",
    "net_bps",
    "break_even_accuracy",
    "log_loss_less_base_rate",
    "log_loss_less_last_move_sign",
    "log_loss_less_logistic_regression",
    "log_loss_less_gradient_boosting",
)


def gates_table(cards: Sequence[ModelCard], product: str) -> Table:
    """Return every gate of every model of a product, the failing ones first."""
    rows = []
    for model in cards:
        for card in model.cards:
            if card.product != product:
                continue
            for gate in sorted(card.gates, key=lambda gate: gate.is_passed):
                state = Cell("pass", "good") if gate.is_passed else Cell("fail", "bad")
                rows.append(
                    (
                        gate.name,
                        model.architecture,
                        state,
                        Cell(figure(gate.figure), "number"),
                        Cell(figure(gate.bound), "number"),
                        Cell(_range(gate.low, gate.high), "number"),
                        gate.sentence,
                    )
                )
    columns = ("gate", "model", "state", "figure", "bound", "95 % interval", "what it means, and what would change it")
    return Table(columns, tuple(rows), "no gate was computed for it")


def baseline_table(cards: Sequence[ModelCard], product: str) -> Table:
    """Return each model of a product with its baselines beside it, on the same test rows."""
    rows: list[tuple[Cell | str, ...]] = []
    for model in cards:
        for card in model.cards:
            if card.product != product:
                continue
            for part, label in (
                ("all", model.architecture),
                *((f"baseline={name}", f"baseline: {name.replace('_', ' ')}") for name in card.slices("baseline")),
            ):
                figures = [card.metric(name, part) for name in BASELINE_METRICS]
                tested = next((item.rows for item in figures if item.rows is not None), None)
                rows.append(
                    (
                        label,
                        *(_figure_cell(item) for item in figures),
                        count(tested) if tested is not None else Cell("", "number"),
                    )
                )
    columns = ("on the test part", *(_TITLES[name] for name in BASELINE_METRICS), "rows")
    return Table(columns, tuple(rows), "no figure was computed for it")


def paired_table(card: ProductCard) -> Table:
    """Return how a model's log loss differs from each baseline's on the same minutes; what both find hard cancels."""
    rows: list[tuple[Cell | str, ...]] = []
    for name in card.slices("baseline"):
        found = card.metric("log_loss_difference", f"baseline={name}")
        if found.value is None or found.low is None or found.high is None:
            continue
        better, worse = found.high < 0, found.low > 0
        told = Cell("better", "good") if better else Cell("worse", "bad") if worse else Cell("not told apart", "wait")
        reach = Cell(f"{found.low:+.5f} to {found.high:+.5f}", "number")
        rows.append((name.replace("_", " "), Cell(f"{found.value:+.5f}", "number"), reach, told))
    columns = ("against", "log loss, model less baseline", "95 % interval", "the model is")
    return Table(columns, tuple(rows), "the model was not compared minute by minute with its baselines")


def slice_table(card: ProductCard, kind: str) -> Table:
    """Return every figure by month, session, tier or coverage, a column each, with its interval."""
    values = card.slices(kind)
    counts = [card.metric("accuracy", f"{kind}={value}") for value in values]
    rows: list[tuple[Cell | str, ...]] = [("minutes", *(Cell(f"{metric.rows or 0:,}", "number") for metric in counts))]
    for name in SLICE_METRICS:
        cells = []
        for value, counted in zip(values, counts, strict=True):
            few = "too few" if counted.value is None and name == "accuracy" else None
            cells.append(Cell(few, "number") if few else _with_range(card.metric(name, f"{kind}={value}")))
        rows.append((_TITLES[name], *cells))
    names = [f"{100 * float(value):g} %" if kind == "coverage" else value.replace("_", " ") for value in values]
    return Table((kind, *names), tuple(rows) if values else (), f"no figure by {kind}")


def _with_range(metric: Metric) -> Cell:
    if metric.value is None:
        return Cell("–", "number")
    ends = "" if metric.low is None or metric.high is None else f" ({_short(metric.low)}, {_short(metric.high)})"
    return Cell(f"{_short(metric.value)}{ends}", "number")


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.4f}"


def _figure_cell(item: Metric) -> Cell:
    return Cell("–" if item.value is None else figure(item.value), "number")


def figure(value: float | None) -> str:
    """Return a gate's figure, with as many digits as its size deserves."""
    if value is None:
        return NOT_COMPUTED
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{figure(low)} to {figure(high)}"


def interval(metric: Metric, scale: float, digits: int, unit: str = "") -> str:
    """Return ``56.2 % (55.0 to 57.4)``."""
    if metric.value is None:
        return NOT_COMPUTED
    text = f"{scale * metric.value:.{digits}f}{unit}"
    if metric.low is None or metric.high is None:
        return text
    return f"{text} ({scale * metric.low:.{digits}f} to {scale * metric.high:.{digits}f})"
