"""The tables and sentences about judged models, the same on the page of a model, in the summary and in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.candles import HORIZON_MINUTES
from reports.page.document import Cell, Table, Text
from reports.page.formatting import NOT_COMPUTED, as_float, count, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.gates.feasibility import CoverageFigures
    from models.serving.passport import CalibrationChoice, Passport
    from reports.models.model_card import Metric, ModelCard, ProductCard
    from reports.page.document import Block

BASELINE_METRICS = ("accuracy", "auc", "log_loss", "brier", "brier_skill", "ece_mass", "ece_width", "net_bps")
_TITLES = {
    "accuracy": "accuracy",
    "base_rate": "base rate",
    "auc": "AUC",
    "log_loss": "log loss",
    "brier": "Brier",
    "brier_skill": "Brier skill",
    "ece_mass": "ECE, equal mass",
    "ece_width": "ECE, equal width",
    "net_bps": "net bps",
    "break_even_accuracy": "break-even accuracy",
    "effective_rows": "effective rows",
    "log_loss_less_base_rate": "loss less base rate's",
    "log_loss_less_last_move_sign": "loss less last move's",
    "log_loss_less_logistic_regression": "loss less logistic's",
    "log_loss_less_gradient_boosting": "loss less boosting's",
}
SLICE_METRICS = tuple(name for name in _TITLES if name != "effective_rows")
_SCORES = ("log_loss", "brier", "ece_mass", "ece_width")


def facts_table(passport: Passport) -> Table:
    """Return where a model comes from, and on which terms it was judged."""
    training, judged, parity = passport.training, passport.judged, passport.parity
    rows = [
        ("architecture", passport.architecture),
        ("products", ", ".join(passport.products)),
        ("data set", passport.dataset_digest),
        ("feature set", f"{passport.feature_set}, sha256 of its SQL {passport.feature_hash}"),
        ("graph", f"sha256 {passport.sha256}, opset {passport.opset}"),
        ("input window, minutes", str(passport.window_minutes)),
    ]
    if training is not None and training.windows:
        took = f"{training.windows:,} windows in {training.seconds or 0:.0f} s, best epoch {training.best_epoch}"
        rows.append(("trained", f"{took}, by commit {training.commit[:12]}"))
    if judged is None:
        rows.append(("judged", "not judged"))
    else:
        every = "every minute" if judged.stride_minutes == 1 else f"every {judged.stride_minutes} minutes"
        terms = f"gates {judged.profile.name}, costs {judged.cost_bps:g} bps a round trip, {judged.trials} trials"
        rows += [("judged", f"{judged.at}, {every}, by commit {judged.commit[:12]}"), ("terms", terms)]
    if parity is not None:
        rows.append(("graph and torch differ by at most", f"{parity.largest:.1e}"))
    rows.append(("seal", passport.seal or "none: judged by an older version"))
    return Table(("what", "which"), tuple((name, Cell(text or NOT_COMPUTED, "code")) for name, text in rows))


def gates_table(cards: Sequence[ModelCard], product: str) -> Table:
    """Return every gate of every model of a product, the failing ones first."""
    rows = [
        (
            gate.name,
            model.architecture,
            Cell("pass", "good") if gate.passed else Cell("FAIL", "bad"),
            Cell(figure(gate.figure), "number"),
            Cell(figure(gate.bound), "number"),
            Cell(_range(gate.low, gate.high), "number"),
            gate.sentence,
        )
        for model, card in _of_product(cards, product)
        for gate in sorted(card.gates, key=lambda gate: gate.passed)
    ]
    columns = ("gate", "model", "state", "figure", "bound", "95 % interval", "what it means, and what would change it")
    return Table(columns, tuple(rows), "no gate was computed for it")


def _of_product(cards: Sequence[ModelCard], product: str) -> list[tuple[ModelCard, ProductCard]]:
    return [(model, card) for model in cards for card in model.cards if card.product == product]


def notes_beside_gates(passport: Passport, product: str) -> list[str]:
    """Return what people read under a gate table; a passport of an older version has fewer lines.

    Could anything earn here at all, would another profile take the model, how used is the test part.
    """
    verdict = passport.verdicts.get(product)
    profile = passport.judged.profile if passport.judged else None
    lines = []
    if verdict is not None and verdict.feasibility is not None:
        lines.append(f"feasibility: {verdict.feasibility.sentence}")
    others = {} if verdict is None else dict(verdict.profiles)
    others.pop(profile.name if profile else "", None)
    if others:
        outcomes = "; ".join(
            f"{name} would {'accept it' if not refused else 'refuse it by ' + ', '.join(refused)}"
            for name, refused in others.items()
        )
        lines.append(f"other profiles (GATE_PROFILE): {outcomes}")
    if profile is not None:
        lines.append(_looks(profile.looks))
    return lines


def _looks(looks: int) -> str:
    if looks <= 1:
        return "test part: this is the first look at it"
    return (
        f"test part: {looks} trainings share its minutes (each counted once a product), each a chance to be lucky: lower bounds "
        f"are held at {100 * (1 - 0.05 / looks):.2f} % instead of 95; a later span would be a fresh one"
    )


def figures_table(card: ProductCard) -> Table:
    """Return every figure of the test part with its interval, and the baselines' beside it."""
    baselines = card.slices("baseline")
    rows: list[tuple[Cell | str, ...]] = [
        (
            _TITLES.get(name, name),
            Cell(figure(own.value), "number"),
            Cell(_range(own.low, own.high), "number"),
            *(_figure_cell(card.metric(name, f"baseline={other}")) for other in baselines),
        )
        for name, own in card.metrics.get("all", {}).items()
    ]
    columns = ("on the test part", "model", "95 % interval", *(name.replace("_", " ") for name in baselines))
    return Table(columns, tuple(rows), "no figure was computed for it")


def baseline_table(cards: Sequence[ModelCard], product: str) -> Table:
    """Return each model of a product with its baselines beside it, on the same test rows."""
    rows: list[tuple[Cell | str, ...]] = []
    for model, card in _of_product(cards, product):
        names = card.slices("baseline")
        labels = {f"baseline={name}": f"baseline: {name.replace('_', ' ')}" for name in names}
        for part, label in ({"all": model.architecture} | labels).items():
            figures = [card.metric(name, part) for name in BASELINE_METRICS]
            tested = next((item.rows for item in figures if item.rows is not None), None)
            cells = [_figure_cell(item) for item in figures]
            rows.append((label, *cells, count(tested) if tested is not None else Cell("", "number")))
    columns = ("on the test part", *(_TITLES[name] for name in BASELINE_METRICS), "rows")
    return Table(columns, tuple(rows), "no figure was computed for it")


def paired_table(card: ProductCard) -> Table:
    """Return how a model's log loss differs from each baseline's on the same minutes; what both find hard cancels."""
    rows: list[tuple[Cell | str, ...]] = []
    for name in card.slices("baseline"):
        less = card.metric("log_loss_difference", f"baseline={name}")
        if less.value is None or less.low is None or less.high is None:
            continue
        better, worse = less.high < 0, less.low > 0
        outcome = (
            Cell("better", "good") if better else Cell("worse", "bad") if worse else Cell("not told apart", "wait")
        )
        reach = Cell(f"{less.low:+.5f} to {less.high:+.5f}", "number")
        rows.append((name.replace("_", " "), Cell(f"{less.value:+.5f}", "number"), reach, outcome))
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


def calibration_blocks(card: ProductCard) -> tuple[Block, ...]:
    """Return which kinds of calibration were tried, on what, and what the chosen one did on the test part."""
    choice = card.verdict.calibration
    if choice is None:
        return (Text("The passport does not say how the probability was calibrated."),)
    values = ", ".join(f"{name} {value:.4f}" for name, value in choice.parameters.items() if isinstance(value, float))
    sentence = f"Calibration {choice.kind} on {choice.rows:,} rows{': ' + values if values else ''}. "
    sentence += (
        f"Fitted on {choice.rows:,} minutes of the calibration part, which neither training nor this test saw. The kind was "
        f"chosen by log loss on {choice.held_out_rows:,} of them, always later than what each trial was fitted on, in "
        f"{choice.held_out_blocks:,} blocks of time: a temperature, unless one of more parameters is better by two standard errors."
        if choice.held_out_rows
        else f"Of {choice.rows:,} minutes in the calibration part nothing could be learnt, so the network's own probability is served."
    )
    return Text(sentence), _calibration_trials(choice), _before_and_after(card)


def _calibration_trials(choice: CalibrationChoice) -> Table:
    rows = tuple(
        (
            trial.kind,
            *(Cell(f"{value:.5f}", "number") for value in (trial.held_out_log_loss, trial.excess, trial.excess_error)),
            Cell("taken", "good") if trial.chosen else "",
        )
        for trial in choice.candidates
    )
    columns = ("kind, simplest first", "held-out log loss", "above the one to beat", "standard error of that", "")
    return Table(columns, rows, "no kind was tried: too few minutes, or labels of one class")


def _before_and_after(card: ProductCard) -> Table:
    change = card.verdict.calibrated
    rows: list[tuple[Cell | str, ...]] = [
        (_TITLES[name], *(Cell(_digits(scores.get(name)), "number") for scores in (change.before, change.after)))
        for name in _SCORES
        if name in change.after
    ]
    less = change.log_loss_change
    if rows and less.value is not None and less.low_95 is not None and less.high_95 is not None:
        reach = f"{less.value:+.5f} ({less.low_95:+.5f} to {less.high_95:+.5f})"
        rows.append(("change of log loss (95 %)", Cell("", "number"), Cell(reach, "number")))
    return Table(("on the test part", "network alone", "calibrated"), tuple(rows), "no test minute was scored")


def feasibility_blocks(card: ProductCard) -> tuple[Block, ...]:
    """Return what the costs ask of a forecast, by how choosy it is."""
    feasible = card.verdict.feasibility
    if feasible is None:
        return (Text("Whether any forecast could pay the costs here was not computed."),)
    rows = [
        _coverage_row(own, name)
        for choice, name in ((feasible.by_confidence, "surest"), (feasible.by_move, "largest moves"))
        for own in choice
    ]
    columns = ("minutes", "mean move, bps", "accuracy needed", "accuracy", "net bps", "perfect call", "positions a day")
    return Text(feasible.sentence), Table(columns, tuple(rows))


def _coverage_row(own: CoverageFigures, name: str) -> tuple[Cell | str, ...]:
    needed = own.break_even_accuracy
    texts = (
        figure(own.mean_move_bps),
        "none pays" if needed is None or needed > 1 else percent(needed),
        percent(own.accuracy),
        figure(own.model_net_bps),
        figure(own.oracle_net_bps),
        figure(own.signals_per_day),
    )
    return (f"{100 * own.coverage:g} % {name}", *(Cell(text, "number") for text in texts))


def selection_blocks(card: ProductCard) -> tuple[Block, ...]:
    """Return how much of the result the number of trials explains."""
    selection = card.verdict.selection
    if selection is None:
        return (Text("What the number of trials takes from the result was not computed."),)
    sentence = (
        f"Trained and judged so far, this one included: {as_float(selection.get('trials')) or 0:,.0f}. The more trials, the better "
        "the best of them looks by luck alone. The deflated Sharpe ratio (Bailey and Lopez de Prado 2014) is the probability that "
        "the daily net return after costs beats what the best of so many worthless trials would show; above 0.95 it is more than luck."
    )
    names = (
        ("days", "days"),
        ("sharpe_daily", "Sharpe ratio of daily net returns"),
        ("expected_maximum_sharpe", "the best of so many worthless trials shows"),
        ("probabilistic_sharpe_ratio", "probability that it is above 0 (one trial)"),
        ("deflated_sharpe_ratio", "deflated Sharpe ratio (all trials)"),
        ("minimum_track_record_days", "days needed to be sure it is above 0"),
    )
    rows = tuple((label, Cell(_selected(name, as_float(selection.get(name))), "number")) for name, label in names)
    return Text(sentence), Table(("what", "figure"), rows)


def _selected(name: str, value: float | None) -> str:
    if name == "minimum_track_record_days" and value is None:
        return "no number of days"
    return f"{value:,.0f}" if value is not None and "days" in name else figure(value)


def rows_sentence(card: ProductCard) -> str:
    """Return what the test minutes are worth, and whether they are too few to say much."""
    accuracy, effective = card.metric("accuracy"), card.metric("effective_rows").value
    if accuracy.rows is None:
        return "No test minute was scored."
    alone = accuracy.rows / HORIZON_MINUTES
    worth = f", by their days' own spread {effective:,.0f}" if effective is not None else ""
    sentence = f"{accuracy.rows:,} test minutes, whose labels overlap {HORIZON_MINUTES} times: worth about {alone:,.0f} independent ones{worth}."
    if accuracy.low is None or accuracy.high is None:
        return f"{sentence} They lie on too few days for any interval, so nothing here can be told from luck."
    reach = 50 * (accuracy.high - accuracy.low)
    few = " That is too few to tell a real edge of one or two points from luck." if reach > 2 else ""
    return f"{sentence} Accuracy is known to {reach:.1f} points either way.{few}"


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


def _digits(value: float | None) -> str:
    return NOT_COMPUTED if value is None else f"{value:.5f}"


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
