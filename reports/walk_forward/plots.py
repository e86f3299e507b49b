"""The pictures of a walk-forward run: where its folds lie, what each gained, how gains add up, how much choosing is luck."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from reports.page.figure import COLORS, EMPTY_SIZE, SERIES, say_empty, sheet, utc_axis
from reports.walk_forward.tables import BASE, BASELINES, GAIN_UNIT, MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from reports.page.document import Picture

    Record = Mapping[str, Any]

_PARTS = (("train", "blue"), ("early_stop", "green"), ("calibration", "orange"), ("test", "purple"))
_BASELINE_COLORS = {"last_move_sign": "soft", "logistic_regression": "grey", "gradient_boosting": "ink"}
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_line(record: Record) -> Picture:
    """Draw every fold's parts on a time line."""
    caption = (
        f"Each line is one fold, trained, stopped, calibrated and judged from left to right. At every border the last "
        f"{record['horizon_minutes']} minutes, whose label would reach across, are left out."
    )
    folds = record["folds"]
    with sheet("folds", "where each fold's parts lie in time", caption, (10, 1.5 + 0.3 * len(folds))) as page:
        axes = page.figure.subplots()
        for number, fold in enumerate(folds):
            moments = [datetime.fromisoformat(fold[name]) for name in (*(part for part, _ in _PARTS), "end")]
            for (part, color), (since, until) in zip(_PARTS, pairwise(moments), strict=True):
                label = part.replace("_", " ") if not number else None
                axes.barh(number, until - since, left=since, height=0.7, color=COLORS[color], label=label)  # type: ignore[arg-type]
        axes.set_yticks(range(len(folds)), [f"fold {number + 1}" for number in range(len(folds))])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        utc_axis(axes)
    return page.picture


def by_fold(record: Record, product: str) -> Picture:
    """Draw each fold's log-loss gain with its interval, every configuration beside the two strong baselines."""
    found = record["results"][product]["configurations"]
    shown = [(name, MODEL, _color(place), name) for place, name in enumerate(found)]
    first = next(iter(found))
    shown += [(first, base, "grey" if base == "logistic_regression" else "ink", base) for base in BASELINES[2:]]
    points = [(name, who, color, label, _gains(found[name]["folds"], who)) for name, who, color, label in shown]
    points = [entry for entry in points if entry[4]]
    caption = (
        "Log loss below that of the base rate, by fold, in 0.0001 nats a minute; bars are 95 % intervals by resampled days. "
        "Above the dashed line a forecast knows more than the share of ups in its training."
    )
    with sheet(
        f"by_fold_{_tag(product)}", f"log-loss gain of {product} by fold", caption, (10, 3.4) if points else EMPTY_SIZE
    ) as page:
        axes = page.figure.subplots()
        if not points:
            say_empty(axes, "no fold finished")
        else:
            _fold_points(axes, record, points)
    return page.picture


def _fold_points(axes: Axes, record: Record, points: Sequence[tuple[str, str, str, str, dict[int, Any]]]) -> None:
    width = 0.7 / len(points)
    for place, (_, who, color, label, gains) in enumerate(points):
        offset = (place - (len(points) - 1) / 2) * width
        name = _name(record, label) if who == MODEL else label.replace("_", " ")
        for fold, gain in gains.items():
            x = fold + offset
            if gain["low_95"] is not None:
                ends = [GAIN_UNIT * gain["low_95"], GAIN_UNIT * gain["high_95"]]
                axes.plot([x, x], ends, color=COLORS[color], linewidth=1.4, alpha=0.7)
        xs = [fold + offset for fold in gains]
        values = [GAIN_UNIT * gain["value"] for gain in gains.values()]
        marker = "o" if who == MODEL else "s"
        axes.scatter(xs, values, color=COLORS[color], s=26, zorder=3, marker=marker, label=name)
    axes.axhline(0, color=COLORS["soft"], linestyle="--", linewidth=1)
    folds = record["folds"]
    axes.set_xticks(
        range(1, len(folds) + 1), [f"{number}\n{fold['test'][:10]}" for number, fold in enumerate(folds, 1)]
    )
    axes.set_xlim(0.5, len(folds) + 0.5)
    axes.set_xlabel("fold and its first judged day (UTC)")
    axes.set_ylabel("gain, 0.0001 nats a minute")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def cumulative(record: Record, product: str) -> Picture:
    """Draw how the log-loss gain adds up day by day."""
    found = record["results"][product]["configurations"]
    whole = {name: one["days"] for name, one in found.items() if one["days"] is not None}
    caption = (
        "Log-loss gain over the base rate, added up over the judged minutes, in nats. A straight rise is a steady edge, a "
        "single step is one lucky day; dotted lines are where a new fold begins."
    )
    with sheet(
        f"cumulative_{_tag(product)}",
        f"cumulative log-loss gain of {product}",
        caption,
        (10, 3.6) if whole else EMPTY_SIZE,
    ) as page:
        axes = page.figure.subplots()
        if not whole:
            say_empty(axes, "no configuration finished every fold")
        else:
            _cumulative_lines(axes, record, whole)
            utc_axis(axes)
    return page.picture


def _cumulative_lines(axes: Axes, record: Record, whole: Mapping[str, Any]) -> None:
    for place, (name, days) in enumerate(whole.items()):
        color = COLORS[_color(place)]
        axes.plot(_ends(days), _added(days["gain"][MODEL]), color=color, label=_name(record, name))  # type: ignore[arg-type]
    first = next(iter(whole.values()))
    for base in BASELINES:
        if base != BASE and base in first["gain"]:
            color = COLORS[_BASELINE_COLORS[base]]
            axes.plot(
                _ends(first),  # type: ignore[arg-type]
                _added(first["gain"][base]),
                color=color,
                linestyle=":" if base == "last_move_sign" else "--",
                linewidth=1.1,
                label=base.replace("_", " "),
            )
    for fold in record["folds"]:
        axes.axvline(datetime.fromisoformat(fold["test"]), color=COLORS["soft"], linestyle=":", linewidth=0.8)  # type: ignore[arg-type]
    axes.axhline(0, color=COLORS["soft"], linewidth=0.8)
    axes.set_ylabel("gain so far, nats")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def luck(record: Record, product: str, kind: str, label: str) -> Picture:
    """Draw the logits of the chosen configuration's rank outside, and its figure outside against inside."""
    one = (record["results"][product]["overfitting"] or {}).get(kind, {})
    is_there = "logits" in one
    caption = (
        f"Chosen by {label}. Left: logit of the rank that the best on one half of the days takes on the other half; left of the "
        "line it is below the middle, and the share there is the probability of over-fitting. Right: its figure on the other "
        "half against that on the half it was chosen on; on the dashed line nothing would be lost. Configurations "
        "that are much alike give a slope near -1 whatever they are worth: what one half has more, the other has less."
    )
    with sheet(
        f"luck_{kind}_{_tag(product)}",
        f"probability of over-fitting of {product} by {label}",
        caption,
        (10, 3.4) if is_there else EMPTY_SIZE,
    ) as page:
        if not is_there:
            say_empty(page.figure.subplots(), one.get("error", "fewer than two configurations finished every fold"))
        else:
            left, right = page.figure.subplots(1, 2)
            _logits(left, one)
            _degradation(right, one)
    return page.picture


def _logits(axes: Axes, one: Mapping[str, Any]) -> None:
    logits, counts = [entry[0] for entry in one["logits"]], [entry[1] for entry in one["logits"]]
    reach = max(1.0, *(abs(logit) for logit in logits))
    width = 2 * reach / 25
    colors = [COLORS["red"] if logit < 0 else COLORS["soft"] if logit == 0 else COLORS["blue"] for logit in logits]
    axes.bar(logits, [100 * count / one["combinations"] for count in counts], width=width, color=colors)
    axes.axvline(0, color=COLORS["soft"], linestyle="--", linewidth=1)
    axes.set_xlim(-reach - width, reach + width)
    axes.set_title(f"over-fitted in {100 * one['probability']:.1f} %")
    axes.set_xlabel("logit of the rank outside")
    axes.set_ylabel("share of halvings (%)")


def _degradation(axes: Axes, one: Mapping[str, Any]) -> None:
    axes.scatter(one["inside"], one["outside"], s=8, alpha=0.4, color=COLORS["blue"], linewidths=0)
    span = [min(one["inside"]), max(one["inside"])]
    axes.plot(span, span, color=COLORS["soft"], linestyle="--", linewidth=1)
    if one["slope"] is not None:
        line = [one["intercept"] + one["slope"] * x for x in span]
        axes.plot(span, line, color=COLORS["red"], linewidth=1.4)
        axes.set_title(f"slope {one['slope']:.2f}")
    axes.axhline(0, color=COLORS["soft"], linewidth=0.8)
    axes.set_xlabel(f"{one['statistic']} inside")
    axes.set_ylabel(f"{one['statistic']} outside")


def _gains(folds: Sequence[Mapping[str, Any]], who: str) -> dict[int, Any]:
    return {
        fold["fold"]: fold["figures"]["forecasters"][who]["gain"]
        for fold in folds
        if "figures" in fold and who in fold["figures"]["forecasters"]
    }


def _ends(days: Mapping[str, Any]) -> list[datetime]:
    return [_EPOCH + (day + 1) * _DAY for day in days["day"]]


def _added(gains: Sequence[float]) -> list[float]:
    return list(accumulate(gains))


def _color(place: int) -> str:
    return SERIES[place % len(SERIES)]


def _name(record: Record, name: str) -> str:
    return str(record["architecture"]) if len(record["configurations"]) == 1 else name


def _tag(product: str) -> str:
    return product.replace("-", "_").lower()
