"""Model passports as reports show them.

A passport is JSON written by the judge (`models/judging/judge.py`). A report must not fail because an older
passport lacks a figure: what is missing stays None here and is shown as "not computed", never invented.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reports.page.formatting import as_float

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from core.settings import Settings

_ORDER = ("tokyo", "london", "new_york", "low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its 95 % interval, as far as they were computed."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate's verdict on one product."""

    name: str
    is_passed: bool
    figure: float | None
    bound: float | None
    low: float | None
    high: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a curve: reliability (predicted, observed) or coverage (share of minutes, accuracy)."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    rows: int | None = None
    needed: float | None = None
    """Accuracy that would pay the costs on these minutes; of a coverage curve only."""


@dataclass(frozen=True, slots=True)
class ProductCard:
    """How one model did on one product."""

    product: str
    slot: str
    is_accepted: bool
    gates: tuple[Gate, ...] = ()
    metrics: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    """Slice (``all``, ``month=2025-01``, ``baseline=logistic``) -> metric -> figure."""
    reliability: tuple[Point, ...] = ()
    reliability_before: tuple[Point, ...] = ()
    """The same of the network itself, without its calibration."""
    coverage: tuple[Point, ...] = ()
    verdict: Mapping[str, Any] = field(default_factory=dict)
    """The product's entry under ``verdicts`` of the passport, as it is."""

    def entry(self, *path: str) -> Mapping[str, Any]:
        """Return a nested object of the verdict; an empty one when it is not there."""
        found: Any = self.verdict
        for key in path:
            found = _dict(found).get(key)
        return _dict(found)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the gates that refused it."""
        return tuple(gate.name for gate in self.gates if not gate.is_passed)

    def metric(self, name: str, part: str = "all") -> Metric:
        """Return one figure; an empty one when it was not computed."""
        return self.metrics.get(part, {}).get(name, Metric())

    def slices(self, kind: str) -> tuple[str, ...]:
        """Return the values of one kind of slice: ``slices("month")`` -> ``2025-01``, ..."""
        start = f"{kind}="
        found = [name.removeprefix(start) for name in self.metrics if name.startswith(start)]
        # sessions in the order of the day, tiers from the lowest, everything else by name
        return tuple(sorted(found, key=lambda value: (_ORDER.index(value) if value in _ORDER else 0, value)))


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One judged model."""

    model_id: str
    architecture: str
    products: tuple[str, ...]
    cards: tuple[ProductCard, ...]
    passport: Mapping[str, Any]

    @property
    def judged_at(self) -> str:
        """When it was judged, as ISO text; empty before."""
        return str(_dict(self.passport.get("judged")).get("at", ""))

    @property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """What training noted at each check, oldest first."""
        entries = _list(_dict(self.passport.get("training")).get("history"))
        return tuple(entry for entry in entries if isinstance(entry, dict))

    def text(self, *path: str) -> str:
        """Return a nested entry of the passport as text, "not computed" when it is not there."""
        found: Any = self.passport
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return "not computed" if found is None else str(found)


def read_cards(settings: Settings, promoted: Mapping[str, str] | None = None) -> tuple[ModelCard, ...]:
    """Return the models that matter: of every slot the promoted one and the one judged last, in order of name."""
    paths = sorted(settings.paths.checkpoints.glob("*/passport.json"))
    found = [card for path in paths if (card := read_card(path)) is not None]
    serving = set((promoted or {}).values())
    newest: dict[str, str] = {}
    for model in sorted(found, key=lambda model: model.judged_at):
        newest |= {card.slot: model.model_id for card in model.cards}
    wanted = serving | set(newest.values())
    return tuple(model for model in found if model.model_id in wanted)


def read_card(path: Path) -> ModelCard | None:
    """Read one passport, and the curves and metrics beside it; None when it is no JSON object.

    A judge that was killed half-way leaves a passport without verdicts: its products then show no gate.
    """
    content = read_json(path)
    if content is None:
        return None
    rows = _list((read_json(path.with_name("judgement.json")) or {}).get("metrics"))
    curves = read_json(path.with_name("curves.json")) or {}
    architecture = str(content.get("architecture", "model"))
    return ModelCard(
        model_id=str(content.get("model_id", path.parent.name)),
        architecture=architecture,
        products=tuple(str(product) for product in _list(content.get("products"))),
        cards=tuple(
            _product_card(
                str(product),
                architecture,
                _dict(_dict(content.get("verdicts")).get(product)),
                rows,
                _dict(curves.get(product)),
            )
            for product in _list(content.get("products"))
        ),
        passport=content,
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None when it is missing or is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _product_card(
    product: str, architecture: str, verdict: Mapping[str, Any], rows: Sequence[Any], curves: Mapping[str, Any]
) -> ProductCard:
    return ProductCard(
        product=product,
        slot=str(verdict.get("slot", f"{architecture.removesuffix('_one_way')}:{product}")),
        is_accepted=bool(verdict.get("accepted", False)),
        gates=tuple(_gate(gate) for gate in _list(verdict.get("gates")) if isinstance(gate, dict)),
        metrics=_joined(_summary_metrics(verdict), _row_metrics(rows, product)),
        reliability=_points(curves.get("reliability_equal_mass"), "mean_probability", "up_share"),
        reliability_before=_points(curves.get("reliability_before"), "mean_probability", "up_share"),
        coverage=tuple(sorted(_points(curves.get("coverage"), "coverage", "value"), key=lambda point: point.x)),
        verdict=verdict,
    )


def _gate(entry: Mapping[str, Any]) -> Gate:
    return Gate(
        name=str(entry.get("name", "unnamed")),
        is_passed=bool(entry.get("passed", False)),
        figure=as_float(entry.get("figure")),
        bound=as_float(entry.get("bound")),
        low=as_float(entry.get("low")),
        high=as_float(entry.get("high")),
        sentence=str(entry.get("sentence", "")),
    )


def _summary_metrics(verdict: Mapping[str, Any]) -> dict[str, dict[str, Metric]]:
    """Read the figures inside the passport, for a model whose metric rows are not beside it."""
    found = {"all": {name: _metric(_dict(entry)) for name, entry in _dict(verdict.get("metrics")).items()}}
    for name, figures in _dict(verdict.get("baselines")).items():
        found[f"baseline={name}"] = {metric: Metric(as_float(value)) for metric, value in _dict(figures).items()}
    for name, difference in _dict(verdict.get("against_baselines")).items():
        found.setdefault(f"baseline={name}", {})["log_loss_difference"] = _metric(_dict(difference))
    return found


def _joined(one: dict[str, dict[str, Metric]], other: dict[str, dict[str, Metric]]) -> dict[str, dict[str, Metric]]:
    """Return the figures of both, the second's where both have one."""
    return {part: one.get(part, {}) | other.get(part, {}) for part in (*one, *other)}


def _row_metrics(rows: Sequence[Any], product: str) -> dict[str, dict[str, Metric]]:
    found: dict[str, dict[str, Metric]] = {}
    for row in rows:
        if isinstance(row, dict) and row.get("product") == product:
            found.setdefault(str(row.get("slice", "all")), {})[str(row.get("metric"))] = _metric(row)
    return found


def _metric(entry: Mapping[str, Any]) -> Metric:
    rows = as_float(entry.get("row_count"))
    return Metric(
        as_float(entry.get("value")),
        as_float(entry.get("low_95")),
        as_float(entry.get("high_95")),
        None if rows is None else int(rows),
    )


def _points(curve: object, x_name: str, y_name: str) -> tuple[Point, ...]:
    found = []
    for entry in _list(curve):
        x, y = as_float(_dict(entry).get(x_name)), as_float(_dict(entry).get(y_name))
        if x is not None and y is not None:
            figure, needed = _metric(_dict(entry)), as_float(_dict(entry).get("break_even_accuracy"))
            found.append(Point(x, y, figure.low, figure.high, figure.rows, needed))
    return tuple(found)


def _list(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _dict(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
