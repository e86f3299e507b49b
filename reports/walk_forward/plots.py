"""Draw a walk-forward run: where its folds lie, what each gained, how gains add up, how much choosing is luck."""

from __future__ import annotations

from datetime import timedelta
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from core.candles import EPOCH
from models.walk_forward.forecasts import MODEL
from models.walk_forward.walk_record import BASE
from reports.page.figure import COLORS, EMPTY_SIZE, SERIES, say_empty, sheet, utc_axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from models.serving.passport import Estimate
    from models.walk_forward.walk_record import DailyGains, OverfittingRecord, WalkForwardRecord
    from reports.page.document import Picture

BASELINES = (BASE, "last_move_sign", "logistic_regression", "gradient_boosting")
GAIN_UNIT = 1e4
"""Log-loss gains are shown in 0.0001 nats a minute."""
_PARTS = (("train", "blue"), ("early_stop", "green"), ("calibration", "orange"), ("test", "purple"))
_BASELINE_COLORS = {"last_move_sign": "soft", "logistic_regression": "grey", "gradient_boosting": "ink"}


def time_line(record: WalkForwardRecord) -> Picture:
    """Draw every fold's parts on a time line."""
    caption = (
        f"Each line is one fold, trained, stopped, calibrated and judged from left to right. At every border the last "
        f"{record.horizon_minutes} minutes, whose label would reach across, are left out."
    )
    folds = record.folds
    with sheet("folds", "where each fold's parts lie in time", caption, (10, 1.5 + 0.3 * len(folds))) as page:
        axes = page.figure.subplots()
        for position, fold in enumerate(folds):
            moments = (fold.train, fold.early_stop, fold.calibration, fold.test, fold.end)
            for (part, color), (since, until) in zip(_PARTS, pairwise(moments), strict=True):
                label = part.replace("_", " ") if not position else None
                axes.barh(position, until - since, left=since, height=0.7, color=COLORS[color], label=label)  # type: ignore[arg-type]
        axes.set_yticks(range(len(folds)), [f"fold {position + 1}" for position in range(len(folds))])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        _legend(axes)
        utc_axis(axes)
    return page.picture


class _Series(NamedTuple):
    """One forecaster's gain in each fold that it finished."""

    label: str
    color: str
    marker: str
    gains: dict[int, Estimate]


def by_fold(record: WalkForwardRecord, product: str) -> Picture:
    """Draw each fold's log-loss gain with its interval, every configuration beside the two strong baselines."""
    names = list(record.results[product].configurations)
    series = [
        _Series(_name(record, name), _color(position), "o", _gains(record, product, name, MODEL))
        for position, name in enumerate(names)
    ]
    series += [
        _Series(base.replace("_", " "), _BASELINE_COLORS[base], "s", _gains(record, product, names[0], base))
        for base in BASELINES[2:]
    ]
    series = [own for own in series if own.gains]
    caption = (
        "Log loss below that of the base rate, by fold, in 0.0001 nats a minute; bars are 95 % intervals by resampled days. "
        "Above the dashed line a forecast knows more than the share of ups in its training."
    )
    size = (10, 3.4) if series else EMPTY_SIZE
    with sheet(f"by_fold_{_tag(product)}", f"log-loss gain of {product} by fold", caption, size) as page:
        axes = page.figure.subplots()
        if series:
            _fold_points(axes, record, series)
        else:
            say_empty(axes, "no fold finished")
    return page.picture


def _gains(record: WalkForwardRecord, product: str, name: str, forecaster: str) -> dict[int, Estimate]:
    return {
        fold.fold: fold.figures.forecasters[forecaster].gain
        for fold in record.results[product].configurations[name].folds
        if fold.figures and forecaster in fold.figures.forecasters
    }


def _fold_points(axes: Axes, record: WalkForwardRecord, series: Sequence[_Series]) -> None:
    width = 0.7 / len(series)
    for position, own in enumerate(series):
        offset, color = (position - (len(series) - 1) / 2) * width, COLORS[own.color]
        for fold, gain in own.gains.items():
            if gain.low_95 is not None and gain.high_95 is not None:
                ends = [GAIN_UNIT * gain.low_95, GAIN_UNIT * gain.high_95]
                axes.plot([fold + offset] * 2, ends, color=color, linewidth=1.4, alpha=0.7)
        xs = [fold + offset for fold in own.gains]
        values = [GAIN_UNIT * (gain.value or 0.0) for gain in own.gains.values()]
        axes.scatter(xs, values, color=color, s=26, zorder=3, marker=own.marker, label=own.label)
    axes.axhline(0, color=COLORS["soft"], linestyle="--", linewidth=1)
    labels = [f"{position}\n{fold.test:%Y-%m-%d}" for position, fold in enumerate(record.folds, 1)]
    axes.set_xticks(range(1, len(labels) + 1), labels)
    axes.set_xlim(0.5, len(labels) + 0.5)
    axes.set_xlabel("fold and its first judged day (UTC)")
    axes.set_ylabel("gain, 0.0001 nats a minute")
    _legend(axes)


def cumulative(record: WalkForwardRecord, product: str) -> Picture:
    """Draw how the log-loss gain adds up day by day."""
    configurations = record.results[product].configurations
    whole = {name: own.days for name, own in configurations.items() if own.days is not None}
    caption = (
        "Log-loss gain over the base rate, added up over the judged minutes, in nats. A straight rise is a steady edge, a "
        "single step is one lucky day; dotted lines are where a new fold begins."
    )
    size = (10, 3.6) if whole else EMPTY_SIZE
    with sheet(f"cumulative_{_tag(product)}", f"cumulative log-loss gain of {product}", caption, size) as page:
        axes = page.figure.subplots()
        if whole:
            _cumulative_lines(axes, record, whole)
            utc_axis(axes)
        else:
            say_empty(axes, "no configuration finished every fold")
    return page.picture


def _cumulative_lines(axes: Axes, record: WalkForwardRecord, whole: Mapping[str, DailyGains]) -> None:
    def line(days: DailyGains, forecaster: str, label: str, **style: object) -> None:
        ends = [EPOCH + timedelta(days=day + 1) for day in days.day]
        axes.plot(ends, list(accumulate(days.gain[forecaster])), label=label, **style)  # type: ignore[arg-type]

    for position, (name, days) in enumerate(whole.items()):
        line(days, MODEL, _name(record, name), color=COLORS[_color(position)])
    # every configuration stands beside the same baselines
    first = next(iter(whole.values()))
    for base, color in _BASELINE_COLORS.items():
        if base in first.gain:
            dashes = ":" if base == "last_move_sign" else "--"
            line(first, base, base.replace("_", " "), color=COLORS[color], linestyle=dashes, linewidth=1.1)
    for fold in record.folds:
        axes.axvline(fold.test, color=COLORS["soft"], linestyle=":", linewidth=0.8)  # type: ignore[arg-type]
    axes.axhline(0, color=COLORS["soft"], linewidth=0.8)
    axes.set_ylabel("gain so far, nats")
    _legend(axes)


def luck(record: WalkForwardRecord, product: str, kind: str, label: str) -> Picture:
    """Draw the logits of the chosen configuration's rank outside, and its figure outside against inside."""
    search = record.results[product].overfitting
    result = None if search is None else search.by(kind)
    caption = (
        f"Chosen by {label}. Left: logit of the rank that the best on one half of the days takes on the other half; left of the "
        "line it is below the middle, and the share there is the probability of over-fitting. Right: its figure on the other "
        "half against that on the half it was chosen on; on the dashed line nothing would be lost. Configurations "
        "that are much alike give a slope near -1 whatever they are worth: what one half has more, the other has less."
    )
    alt = f"probability of over-fitting of {product} by {label}"
    size = (10, 3.4) if result and result.logits else EMPTY_SIZE
    with sheet(f"luck_{kind}_{_tag(product)}", alt, caption, size) as page:
        if result and result.logits:
            left, right = page.figure.subplots(1, 2)
            _logits(left, result)
            _degradation(right, result)
        else:
            why = result.error if result and result.error else "fewer than two configurations finished every fold"
            say_empty(page.figure.subplots(), why)
    return page.picture


def _logits(axes: Axes, result: OverfittingRecord) -> None:
    logits = [logit for logit, _ in result.logits]
    reach = max(1.0, *(abs(logit) for logit in logits))
    width = 2 * reach / 25
    colors = [COLORS["red"] if logit < 0 else COLORS["soft"] if logit == 0 else COLORS["blue"] for logit in logits]
    axes.bar(logits, [100 * count / result.combinations for _, count in result.logits], width=width, color=colors)
    axes.axvline(0, color=COLORS["soft"], linestyle="--", linewidth=1)
    axes.set_xlim(-reach - width, reach + width)
    axes.set_title(f"over-fitted in {100 * (result.probability or 0.0):.1f} %")
    axes.set_xlabel("logit of the rank outside")
    axes.set_ylabel("share of halvings (%)")


def _degradation(axes: Axes, result: OverfittingRecord) -> None:
    axes.scatter(result.inside, result.outside, s=8, alpha=0.4, color=COLORS["blue"], linewidths=0)
    span = [min(result.inside), max(result.inside)]
    axes.plot(span, span, color=COLORS["soft"], linestyle="--", linewidth=1)
    if result.slope is not None and result.intercept is not None:
        axes.plot(span, [result.intercept + result.slope * x for x in span], color=COLORS["red"], linewidth=1.4)
        axes.set_title(f"slope {result.slope:.2f}")
    axes.axhline(0, color=COLORS["soft"], linewidth=0.8)
    axes.set_xlabel(f"{result.statistic} inside")
    axes.set_ylabel(f"{result.statistic} outside")


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _color(position: int) -> str:
    return SERIES[position % len(SERIES)]


def _name(record: WalkForwardRecord, name: str) -> str:
    return record.architecture if len(record.configurations) == 1 else name


def _tag(product: str) -> str:
    return product.replace("-", "_").lower()
