"""Show a walk-forward run from its record alone: the page, and its tables, which the terminal prints too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.walk_forward.forecasts import MODEL
from reports.page.document import Cell, Document, Figures, Section, Table, Text
from reports.page.formatting import NOT_COMPUTED, market_notice, number, percent
from reports.walk_forward.plots import BASELINES, GAIN_UNIT, by_fold, cumulative, luck, time_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from models.serving.passport import Estimate
    from models.walk_forward.walk_record import (
        ConfigurationRecord,
        FoldMoments,
        FoldRecord,
        ForecasterMetrics,
        OverfittingRecord,
        WalkForwardRecord,
    )
    from reports.page.document import Block

    TableRow = tuple[Cell | str, ...]

_SELECTED_BY = {"gain": "log-loss gain a day", "net_bps": "net return a day"}


def walk_forward_document(record: WalkForwardRecord) -> Document:
    """Build the report of one run."""
    folds, names = len(record.folds), len(record.configurations)
    past = "all that lies before it" if record.rolling_days is None else f"the {record.rolling_days} days before it"
    tried = "" if names == 1 else f", {names} configurations"
    return Document(
        title=record.run_id,
        kicker="Candledesk walk-forward report",
        lead=(
            f"{record.architecture} on {', '.join(record.products)}{tried}: trained anew for each of {folds} folds on {past}, "
            f"judged from {record.folds[0].test:%Y-%m-%d} to {record.folds[-1].end:%Y-%m-%d}. {_outcome(record)}"
        ),
        badge=Cell("failures", "bad") if record.failures else None,
        notices=tuple(_notices(record)),
        sections=(
            Section("Where the folds lie", (time_line(record),)),
            *(section for product in record.products for section in _product_sections(record, product)),
            Section("What was done", (_settings(record),)),
        ),
    )


def terminal_tables(record: WalkForwardRecord) -> Iterator[tuple[str, Table, Sequence[str]]]:
    """Yield title, table and notes for a terminal, product by product."""
    for product in record.products:
        yield f"{product}: all folds together, beside the baselines", pooled_table(record, product), ()
        yield f"{product}: fold by fold", folds_table(record, product), ()
        yield f"{product}: how much of it is luck", selection_table(record, product), notes(record, product)


def _outcome(record: WalkForwardRecord) -> str:
    ahead: list[str] = []
    behind: list[str] = []
    for product in record.products:
        for name, own in record.results[product].configurations.items():
            low = own.pooled.forecasters[MODEL].gain.low_95 if own.pooled else None
            label = product if len(record.configurations) == 1 else f"{product} ({name})"
            (ahead if low is not None and low > 0 else behind).append(label)
    sentences = [f"It knows more than the base rate, beyond chance, on {', '.join(ahead)}."] if ahead else []
    sentences += [f"It does not, or not beyond chance, on {', '.join(behind)}."] if behind else []
    return " ".join(sentences)


def _notices(record: WalkForwardRecord) -> list[str]:
    notices = [market_notice(record.sources), *(f"A fold failed: {failure}" for failure in record.failures)]
    if record.walks_over_test_part and len(record.configurations) > 1:
        notices.append(
            "Several configurations were compared on the data set's test part: it is no untouched test for the one chosen here."
        )
    return [notice for notice in notices if notice]


def _product_sections(record: WalkForwardRecord, product: str) -> tuple[Section, ...]:
    blocks: tuple[Block, ...] = (selection_table(record, product),)
    if len(record.configurations) > 1:
        blocks = (
            *(Text(note) for note in notes(record, product)),
            *blocks,
            configurations_table(record, product),
            luck(record, product, "gain", "log-loss gain"),
            luck(record, product, "net_bps", "net return"),
        )
    return (
        Section(f"{product}: all folds together", (*_key_figures(record, product), pooled_table(record, product))),
        Section(f"{product}: fold by fold", (by_fold(record, product), folds_table(record, product))),
        Section(f"{product}: through time", (cumulative(record, product),)),
        Section(f"{product}: how much of it is luck", blocks),
    )


def _key_figures(record: WalkForwardRecord, product: str) -> tuple[Figures, ...]:
    configurations = record.results[product].configurations
    pooled = {name: own.pooled for name, own in configurations.items() if own.pooled is not None}
    if not pooled:
        return ()
    best = max(pooled, key=lambda name: pooled[name].forecasters[MODEL].gain.value or 0.0)
    figures = pooled[best]
    model = figures.forecasters[MODEL]
    gains = [fold.figures.forecasters[MODEL].gain.value for fold in configurations[best].folds if fold.figures]
    better = sum(gain > 0 for gain in gains if gain is not None)
    gain = NOT_COMPUTED if model.gain.value is None else f"{GAIN_UNIT * model.gain.value:.2f}"
    return (
        Figures(
            (
                ("configuration", best, "the best by pooled gain" if len(configurations) > 1 else "the only one tried"),
                ("gain, 0.0001 nats", gain, "log loss below the base rate's, a minute"),
                ("folds with a gain", f"{better} of {len(gains)}", "each trained anew"),
                ("accuracy", percent(model.accuracy.value), f"base rate {percent(figures.base_rate)}"),
                ("break-even accuracy", percent(figures.break_even_accuracy), "what the costs assumed demand"),
                ("judged", f"{figures.rows:,} minutes", f"of {figures.days} days"),
            )
        ),
    )


def _settings(record: WalkForwardRecord) -> Table:
    spec = record.configurations[0].spec
    settings = (
        ("data set", record.dataset_digest),
        ("feature set", record.feature_set),
        ("sha256 of its SQL", record.feature_hash),
        ("gate profile", record.gate_profile),
        ("round-trip cost assumed, bps", f"{record.cost_bps:g}"),
        ("judged on every n-th minute", str(record.judged_every_minutes)),
        ("trained on every n-th minute", str(spec.stride)),
        ("most epochs", str(spec.epochs)),
        ("seed", str(spec.seed)),
        ("models tried in this folder until now", str(record.trials)),
        ("seconds of this run", NOT_COMPUTED if record.seconds is None else str(record.seconds)),
        ("commit", record.commit),
        ("at", record.at),
    )
    return Table(("what", "which"), tuple((label, Cell(value, "code")) for label, value in settings))


def pooled_table(record: WalkForwardRecord, product: str) -> Table:
    """Return every configuration and, below them, every baseline, over all folds."""
    configurations = record.results[product].configurations
    pooled = {name: own.pooled.forecasters for name, own in configurations.items() if own.pooled is not None}
    rows: list[TableRow] = [
        (_label(record, name), *_forecast_cells(pooled[name][MODEL]))
        if name in pooled
        else (_label(record, name), Cell("not every fold finished", "bad"), *[""] * 7)
        for name in configurations
    ]
    # every configuration stands beside the same baselines
    first = next(iter(pooled.values()), {})
    rows += [(_baseline(name), *_forecast_cells(first[name])) for name in BASELINES if name in first]
    columns = (
        "forecast by",
        "gain, 0.0001 nats (95 %)",
        _ahead(record),
        "accuracy (95 %)",
        "surest tenth",
        "AUC (95 %)",
        "Brier skill (95 %)",
        "calibration error",
        "net bps (95 %)",
    )
    return Table(columns, tuple(rows), "no fold finished")


def folds_table(record: WalkForwardRecord, product: str) -> Table:
    """Return fold by fold every configuration and, below them, the fold's baselines."""
    configurations = record.results[product].configurations
    rows: list[TableRow] = []
    for position, moments in enumerate(record.folds, 1):
        folds = _of_fold(configurations, position)
        head = (str(position), _dates(moments))
        for name, fold in folds.items():
            rows.append((*head, _label(record, name), *_model_cells(fold)))
            head = ("", "")
        judged = next((fold.figures.forecasters for fold in folds.values() if fold.figures), {})
        rows += [("", "", _baseline(base), *_fold_cells(judged[base]), "") for base in BASELINES if base in judged]
    columns = (
        "fold",
        "judged (UTC)",
        "forecast by",
        "gain, 0.0001 nats (95 %)",
        _ahead(record),
        "accuracy (95 %)",
        "AUC",
        "calibration error",
        "net bps (95 %)",
        f"gates of profile {record.gate_profile} that would refuse",
    )
    return Table(columns, tuple(rows), "no fold finished")


def _of_fold(configurations: Mapping[str, ConfigurationRecord], position: int) -> dict[str, FoldRecord]:
    return {name: fold for name, own in configurations.items() for fold in own.folds if fold.fold == position}


def selection_table(record: WalkForwardRecord, product: str) -> Table:
    """Return what the best configuration is worth after the search that result it."""
    result = record.results[product]
    rows: list[TableRow] = []
    for kind, label in _SELECTED_BY.items():
        if (best := result.selection.get(kind)) is None:
            continue
        weighed, days = best.of_the_best, best.of_the_best.minimum_track_record_days
        rows.append(
            (
                label,
                Cell(best.best, "code"),
                number(weighed.sharpe_daily, 3),
                number(weighed.expected_maximum_sharpe, 3),
                number(weighed.trials, 0),
                Cell(percent(weighed.probabilistic_sharpe_ratio), "number"),
                Cell(percent(weighed.deflated_sharpe_ratio), "number"),
                Cell("never" if days is None else f"{days:,.0f}", "number"),
                *(_luck_cells(result.overfitting.by(kind)) if result.overfitting else ()),
            )
        )
    columns = (
        "chosen by",
        "best",
        "Sharpe ratio, daily",
        "best of as many lucky ones",
        "trials",
        "above 0 (PSR)",
        "above the lucky ones (DSR)",
        "days until certain",
        *(("over-fitting (PBO)", "slope outside on inside", "loss outside") if result.overfitting else ()),
    )
    return Table(columns, tuple(rows), "no configuration finished every fold")


def configurations_table(record: WalkForwardRecord, product: str) -> Table:
    """Return each configuration's daily Sharpe ratios and how often each would have been chosen."""
    result = record.results[product]
    chosen: dict[tuple[str, str], float] = {}
    if result.overfitting is not None:
        for kind in _SELECTED_BY:
            # without any share where there are too few days
            shares = zip(result.overfitting.configurations, result.overfitting.by(kind).chosen, strict=False)
            chosen |= {(kind, name): share for name, share in shares}
    rows: list[TableRow] = []
    for tried in record.configurations:
        changes = ", ".join(f"{key} = {value:g}" for key, value in tried.changes.items()) or "the preset as it is"
        sharpes = [
            best.sharpe_daily.get(tried.name) if (best := result.selection.get(kind)) else None for kind in _SELECTED_BY
        ]
        rows.append(
            (
                Cell(tried.name, "code"),
                changes,
                *(number(sharpe, 3) for sharpe in sharpes),
                *(Cell(percent(chosen.get((kind, tried.name))), "number") for kind in _SELECTED_BY),
            )
        )
    columns = (
        "configuration",
        "changes",
        "Sharpe ratio of daily gain",
        "of daily net return",
        "chosen by gain",
        "chosen by net return",
    )
    return Table(columns, tuple(rows))


def notes(record: WalkForwardRecord, product: str) -> tuple[str, ...]:
    """Return, in words, what the over-fitting figures say."""
    search = record.results[product].overfitting
    if search is None:
        return ()
    return tuple(_note(label, search.by(kind)) for kind, label in _SELECTED_BY.items())


def _note(label: str, result: OverfittingRecord) -> str:
    if result.error is not None or result.probability is None:
        return f"By {label}: {result.error}."
    verdict = (
        "worse than" if result.probability > 0.5 else "no better than" if result.probability > 0.4 else "better than"
    )
    return (
        f"By {label}: in {100 * result.probability:.1f} % of {result.combinations:,} halvings of {result.days} days the best of "
        f"{result.configurations} configurations on one half was below the middle on the other: choosing is {verdict} a coin flip."
    )


def _ahead(record: WalkForwardRecord) -> str:
    """Name the configuration whose lead over a baseline is shown: the first, where there are several."""
    return f"{'model' if len(record.configurations) == 1 else record.configurations[0].name} ahead by (95 %)"


def _model_cells(fold: FoldRecord) -> TableRow:
    if fold.figures is None:
        return (Cell("failed", "bad"), *[""] * 6)
    return (*_fold_cells(fold.figures.forecasters[MODEL]), ", ".join(fold.refused_by) or "passes all")


def _forecast_cells(own: ForecasterMetrics) -> TableRow:
    return (
        _interval(own.gain, GAIN_UNIT, 2),
        _interval(own.ahead, GAIN_UNIT, 2),
        _interval(own.accuracy, 100, 2),
        _interval(own.accuracy_surest_tenth, 100, 1),
        _interval(own.auc, 1, 4),
        _interval(own.brier_skill, 1, 4),
        _interval(own.ece_mass, 1, 4, ends=False),
        _interval(own.net_bps, 1, 2),
    )


def _fold_cells(own: ForecasterMetrics) -> TableRow:
    return (
        _interval(own.gain, GAIN_UNIT, 2),
        _interval(own.ahead, GAIN_UNIT, 2),
        _interval(own.accuracy, 100, 2),
        _interval(own.auc, 1, 4, ends=False),
        _interval(own.ece_mass, 1, 4, ends=False),
        _interval(own.net_bps, 1, 2),
    )


def _luck_cells(result: OverfittingRecord) -> TableRow:
    return (
        Cell(percent(result.probability), "number"),
        number(result.slope, 2),
        Cell(percent(result.probability_of_loss), "number"),
    )


def _label(record: WalkForwardRecord, name: str) -> str:
    return record.architecture if len(record.configurations) == 1 else f"{record.architecture}, {name}"


def _baseline(name: str) -> str:
    return f"baseline: {name.replace('_', ' ')}"


def _dates(fold: FoldMoments) -> str:
    return f"{fold.test:%Y-%m-%d} .. {fold.end:%Y-%m-%d}"


def _interval(figure: Estimate | None, scale: float, digits: int, *, ends: bool = True) -> Cell:
    """Return ``1.05 (0.40 to 1.70)``; nothing where the figure makes no sense."""
    if figure is None:
        return Cell("", "number")
    if figure.value is None:
        return Cell(NOT_COMPUTED, "number")
    text = f"{scale * figure.value:.{digits}f}"
    if ends and figure.low_95 is not None and figure.high_95 is not None:
        text += f" ({scale * figure.low_95:.{digits}f} to {scale * figure.high_95:.{digits}f})"
    return Cell(text, "number")
