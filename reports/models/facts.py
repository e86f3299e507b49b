"""What a judging found beside the figures: the calibration it chose, what costs ask, how much luck the search allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.models.tables import figure
from reports.page.document import Cell, Table, Text
from reports.page.formatting import NOT_COMPUTED, as_float, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.models.model_card import ProductCard
    from reports.page.document import Block

_OVERLAP = 15
_SCORES = (
    ("log_loss", "log loss"),
    ("brier", "Brier"),
    ("ece_mass", "ECE, equal mass"),
    ("ece_width", "ECE, equal width"),
)


def calibration_blocks(card: ProductCard) -> tuple[Block, ...]:
    """Return which kinds of calibration were tried, on what, and what the chosen one did on the test part."""
    entry = card.entry("calibration")
    if not entry:
        return (Text("The passport does not say how the probability was calibrated."),)
    rows, held = as_float(entry.get("rows")) or 0, as_float(entry.get("held_out_rows")) or 0
    told = (
        f"Fitted on {rows:,.0f} minutes of the calibration part, which neither training nor this test saw. The kind was chosen by "
        f"log loss on {held:,.0f} of them, always later than what each trial was fitted on, in "
        f"{as_float(entry.get('held_out_blocks')) or 0:,.0f} blocks of time: a temperature, unless one of more parameters is better by two standard errors."
        if held
        else f"Of {rows:,.0f} minutes in the calibration part nothing could be learnt, so the network's own probability is served."
    )
    return Text(told), _candidates(entry), _before_and_after(card)


def _candidates(entry: Mapping[str, Any]) -> Table:
    rows = []
    for candidate in entry.get("candidates", ()):
        excess, error = as_float(candidate.get("excess")), as_float(candidate.get("excess_error"))
        rows.append(
            (
                str(candidate.get("kind")),
                Cell(_digits(as_float(candidate.get("held_out_log_loss"))), "number"),
                Cell(_digits(excess), "number"),
                Cell(_digits(error), "number"),
                Cell("taken", "good") if candidate.get("chosen") else "",
            )
        )
    columns = ("kind, simplest first", "held-out log loss", "above the one to beat", "standard error of that", "")
    return Table(columns, tuple(rows), "no kind was tried: too few minutes, or labels of one class")


def _before_and_after(card: ProductCard) -> Table:
    before, after = card.entry("calibrated", "before"), card.entry("calibrated", "after")
    change = card.entry("calibrated", "log_loss_change")
    rows = [
        (label, Cell(_digits(as_float(before.get(name))), "number"), Cell(_digits(as_float(after.get(name))), "number"))
        for name, label in _SCORES
        if name in after
    ]
    ends = [as_float(change.get(name)) for name in ("value", "low_95", "high_95")]
    if rows and None not in ends:
        value, low, high = (f"{end:+.5f}" for end in ends)
        rows.append(("change of log loss (95 %)", Cell("", "number"), Cell(f"{value} ({low} to {high})", "number")))
    return Table(("on the test part", "network alone", "calibrated"), tuple(rows), "no test minute was scored")


def feasibility_blocks(card: ProductCard) -> tuple[Block, ...]:
    """Return what the costs ask of a forecast, by how choosy it is."""
    entry = card.entry("feasibility")
    if not entry:
        return (Text("Whether any forecast could pay the costs here was not computed."),)
    rows = [
        _feasible(item, name)
        for choice, name in (("by_confidence", "surest"), ("by_move", "largest moves"))
        for item in entry.get(choice, ())
    ]
    columns = (
        "minutes",
        "mean move, bps",
        "accuracy needed",
        "accuracy",
        "net bps",
        "perfect call",
        "positions a day",
    )
    return Text(str(entry.get("sentence", ""))), Table(columns, tuple(rows))


def _feasible(item: Mapping[str, Any], name: str) -> tuple[Cell | str, ...]:
    needed = as_float(item.get("break_even_accuracy"))
    return (
        f"{100 * (as_float(item.get('coverage')) or 0):g} % {name}",
        Cell(figure(as_float(item.get("mean_move_bps"))), "number"),
        Cell("none pays" if needed is None or needed > 1 else percent(needed), "number"),
        Cell(percent(as_float(item.get("accuracy"))), "number"),
        Cell(figure(as_float(item.get("model_net_bps"))), "number"),
        Cell(figure(as_float(item.get("oracle_net_bps"))), "number"),
        Cell(figure(as_float(item.get("signals_per_day"))), "number"),
    )


def selection_blocks(card: ProductCard) -> tuple[Block, ...]:
    """Return how much of the result the number of trials explains."""
    entry = card.entry("selection")
    if not entry:
        return (Text("What the number of trials takes from the result was not computed."),)
    trials = as_float(entry.get("trials")) or 0
    told = (
        f"Trained and judged so far, this one included: {trials:,.0f}. The more trials, the better the best of them looks by luck alone. "
        "The deflated Sharpe ratio (Bailey and Lopez de Prado 2014) is the probability that the daily net return after costs beats "
        "what the best of so many worthless trials would show; above 0.95 it is more than luck."
    )
    names = (
        ("days", "days"),
        ("sharpe_daily", "Sharpe ratio of daily net returns"),
        ("expected_maximum_sharpe", "the best of so many worthless trials shows"),
        ("probabilistic_sharpe_ratio", "probability that it is above 0 (one trial)"),
        ("deflated_sharpe_ratio", "deflated Sharpe ratio (all trials)"),
        ("minimum_track_record_days", "days needed to be sure it is above 0"),
    )
    rows = tuple((label, Cell(_selected(name, as_float(entry.get(name))), "number")) for name, label in names)
    return Text(told), Table(("what", "figure"), rows)


def _selected(name: str, value: float | None) -> str:
    if name == "minimum_track_record_days" and value is None:
        return "no number of days"
    return f"{value:,.0f}" if value is not None and "days" in name else figure(value)


def rows_sentence(card: ProductCard) -> str:
    """Say what the test minutes are worth, and when they are too few to say much."""
    accuracy, effective = card.metric("accuracy"), card.metric("effective_rows").value
    if accuracy.rows is None:
        return "No test minute was scored."
    alone = accuracy.rows / _OVERLAP
    worth = f", by their days' own spread {effective:,.0f}" if effective is not None else ""
    told = f"{accuracy.rows:,} test minutes, whose labels overlap {_OVERLAP} times: worth about {alone:,.0f} independent ones{worth}."
    if accuracy.low is None or accuracy.high is None:
        return f"{told} They lie on too few days for any interval, so nothing here can be told from luck."
    reach = 50 * (accuracy.high - accuracy.low)
    few = " That is too few to tell a real edge of one or two points from luck." if reach > 2 else ""
    return f"{told} Accuracy is known to {reach:.1f} points either way.{few}"


def _digits(value: float | None) -> str:
    return NOT_COMPUTED if value is None else f"{value:.5f}"
