"""The tables of a walk-forward run, the same in the terminal and on the page; the baselines are in every one of forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.page.document import Cell, Table
from reports.page.formatting import NOT_COMPUTED, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Record = Mapping[str, Any]

MODEL, BASE = "model", "base_rate"
BASELINES = ("base_rate", "last_move_sign", "logistic_regression", "gradient_boosting")
GAIN_UNIT = 1e4
"""Log-loss gains are shown in 0.0001 nats a minute."""
_SELECTED_BY = {"gain": "log-loss gain a day", "net_bps": "net return a day"}


def terminal_tables(record: Record) -> Iterator[tuple[str, Table, Sequence[str]]]:
    """Yield title, table and notes for a terminal, product by product."""
    for product in record["products"]:
        yield f"{product}: all folds together, beside the baselines", pooled_table(record, product), ()
        yield f"{product}: fold by fold", folds_table(record, product), ()
        yield f"{product}: how much of it is luck", selection_table(record, product), notes(record, product)


def pooled_table(record: Record, product: str) -> Table:
    """Return every configuration and, below them, every baseline, over all folds."""
    found = record["results"][product]["configurations"]
    rows: list[tuple[Cell | str, ...]] = []
    pooled = {name: one["pooled"]["forecasters"] for name, one in found.items() if one["pooled"] is not None}
    for name in found:
        if name in pooled:
            rows.append(_forecast_row(_label(record, name), pooled[name][MODEL]))
        else:
            rows.append((_label(record, name), Cell("not every fold finished", "bad"), *[""] * 7))
    if pooled:
        first = next(iter(pooled.values()))
        rows += [_forecast_row(_baseline(name), first[name]) for name in BASELINES if name in first]
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


def folds_table(record: Record, product: str) -> Table:
    """Return fold by fold every configuration and, below them, the fold's baselines."""
    found = record["results"][product]["configurations"]
    rows: list[tuple[Cell | str, ...]] = []
    for number, borders in enumerate(record["folds"], 1):
        folds = {name: fold for name, one in found.items() for fold in one["folds"] if fold["fold"] == number}
        head = (str(number), _dates(borders))
        for name, fold in folds.items():
            rows.append((*head, _label(record, name), *_model_cells(fold)))
            head = ("", "")
        # every configuration stands beside the same baselines
        judged: Mapping[str, Any] = next(
            (fold["figures"]["forecasters"] for fold in folds.values() if "figures" in fold), {}
        )
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
        f"gates of profile {record['gate_profile']} that would refuse",
    )
    return Table(columns, tuple(rows), "no fold finished")


def _model_cells(fold: Mapping[str, Any]) -> tuple[Cell | str, ...]:
    if "error" in fold:
        return (Cell("failed", "bad"), *[""] * 6)
    gates = ", ".join(fold["refused_by"]) or "passes all"
    return (*_fold_cells(fold["figures"]["forecasters"][MODEL]), gates)


def _ahead(record: Record) -> str:
    """Name the configuration whose lead over a baseline is told: the first, where there are several."""
    names = [one["name"] for one in record["configurations"]]
    return f"{'model' if len(names) == 1 else names[0]} ahead by (95 %)"


def selection_table(record: Record, product: str) -> Table:
    """Return what the best configuration is worth after the search that found it."""
    result = record["results"][product]
    is_search = result["overfitting"] is not None
    rows: list[tuple[Cell | str, ...]] = []
    for kind, label in _SELECTED_BY.items():
        found = result["selection"].get(kind)
        if found is None:
            continue
        best, weighed = found["best"], found["of_the_best"]
        luck = (result["overfitting"] or {}).get(kind, {})
        rows.append(
            (
                label,
                Cell(best, "code"),
                _number(weighed["sharpe_daily"], 3),
                _number(weighed["expected_maximum_sharpe"], 3),
                _number(weighed["trials"], 0),
                Cell(percent(weighed["probabilistic_sharpe_ratio"]), "number"),
                Cell(percent(weighed["deflated_sharpe_ratio"]), "number"),
                Cell(_days(weighed["minimum_track_record_days"]), "number"),
                *(_luck_cells(luck) if is_search else ()),
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
        *(("over-fitting (PBO)", "slope outside on inside", "loss outside") if is_search else ()),
    )
    return Table(columns, tuple(rows), "no configuration finished every fold")


def _luck_cells(luck: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        Cell(percent(luck.get("probability")), "number"),
        _number(luck.get("slope"), 2),
        Cell(percent(luck.get("probability_of_loss")), "number"),
    )


def configurations_table(record: Record, product: str) -> Table:
    """Return each configuration's daily Sharpe ratios and how often each would have been chosen."""
    result = record["results"][product]
    luck = result["overfitting"] or {}
    rows: list[tuple[Cell | str, ...]] = []
    for one in record["configurations"]:
        name = one["name"]
        place = luck["configurations"].index(name) if name in luck.get("configurations", ()) else None
        cells = [
            _number(result["selection"].get(kind, {}).get("sharpe_daily", {}).get(name), 3) for kind in _SELECTED_BY
        ]
        shares = [
            luck[kind]["chosen"][place] if place is not None and "chosen" in luck.get(kind, {}) else None
            for kind in _SELECTED_BY
        ]
        changes = ", ".join(f"{key} = {value}" for key, value in one["changes"].items()) or "the preset as it is"
        rows.append((Cell(name, "code"), changes, *cells, *(Cell(percent(share), "number") for share in shares)))
    columns = (
        "configuration",
        "changes",
        "Sharpe ratio of daily gain",
        "of daily net return",
        "chosen by gain",
        "chosen by net return",
    )
    return Table(columns, tuple(rows))


def notes(record: Record, product: str) -> tuple[str, ...]:
    """Return, in words, what the over-fitting figures say."""
    luck = record["results"][product]["overfitting"]
    found = []
    for kind, label in _SELECTED_BY.items():
        one = (luck or {}).get(kind)
        if one is None:
            continue
        if "error" in one:
            found.append(f"By {label}: {one['error']}.")
            continue
        chance = one["probability"]
        verdict = (
            "worse than a coin flip"
            if chance > 0.5
            else "no better than a coin flip"
            if chance > 0.4
            else "better than a coin flip"
        )
        found.append(
            f"By {label}: in {100 * chance:.1f} % of {one['combinations']:,} halvings of {one['days']} days the best of "
            f"{one['configurations']} configurations on one half was below the middle on the other: choosing is {verdict}."
        )
    return tuple(found)


def _forecast_row(label: Cell | str, one: Mapping[str, Any]) -> tuple[Cell | str, ...]:
    return (
        label,
        _interval(one["gain"], GAIN_UNIT, 2),
        _interval(one.get("ahead"), GAIN_UNIT, 2),
        _interval(one["accuracy"], 100, 2),
        _interval(one["accuracy_surest_tenth"], 100, 1),
        _interval(one["auc"], 1, 4),
        _interval(one["brier_skill"], 1, 4),
        _interval(one["ece_mass"], 1, 4, ends=False),
        _interval(one["net_bps"], 1, 2),
    )


def _fold_cells(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        _interval(one["gain"], GAIN_UNIT, 2),
        _interval(one.get("ahead"), GAIN_UNIT, 2),
        _interval(one["accuracy"], 100, 2),
        _interval(one["auc"], 1, 4, ends=False),
        _interval(one["ece_mass"], 1, 4, ends=False),
        _interval(one["net_bps"], 1, 2),
    )


def _label(record: Record, name: str) -> str:
    return str(record["architecture"]) if len(record["configurations"]) == 1 else f"{record['architecture']}, {name}"


def _baseline(name: str) -> str:
    return f"baseline: {name.replace('_', ' ')}"


def _dates(fold: Mapping[str, str]) -> str:
    return f"{fold['test'][:10]} .. {fold['end'][:10]}"


def _interval(figure: Mapping[str, Any] | None, scale: float, digits: int, *, ends: bool = True) -> Cell:
    """Return ``1.05 (0.40 to 1.70)``; nothing where the figure makes no sense."""
    if figure is None:
        return Cell("", "number")
    value, low, high = figure["value"], figure["low_95"], figure["high_95"]
    if value is None:
        return Cell(NOT_COMPUTED, "number")
    text = f"{scale * value:.{digits}f}"
    if ends and low is not None and high is not None:
        text += f" ({scale * low:.{digits}f} to {scale * high:.{digits}f})"
    return Cell(text, "number")


def _number(value: float | None, digits: int) -> Cell:
    return Cell(NOT_COMPUTED if value is None else f"{value:,.{digits}f}", "number")


def _days(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f}"
