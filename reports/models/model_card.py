"""Read judged models for reports: the passport, and the metric rows and curves beside it.

A report must not fail because an older passport lacks a figure: what is missing stays None here and is shown as
"not computed", never invented. Whether a seal holds is for `desk models verify` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.candles import SESSIONS
from core.errors import ModelError
from models.gates.judgement import CURVES_FILE, JUDGEMENT_FILE, Judgement, ProductCurves, read_curves
from models.serving.passport import FILE, Appraisal, Passport, slot_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from core.settings import Settings
    from models.gates import GateResult
    from models.gates.judgement import MetricRow

_ORDER = (*SESSIONS, "low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its 95 % interval, as far as they were computed."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class ProductCard:
    """How one model did on one product."""

    product: str
    verdict: Appraisal
    metrics: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    """Slice (``all``, ``month=2025-01``, ``baseline=logistic``) -> metric -> figure."""
    curves: ProductCurves = field(default_factory=ProductCurves)

    @property
    def slot(self) -> str:
        """What it may serve."""
        return self.verdict.slot

    @property
    def is_accepted(self) -> bool:
        """Whether every gate passed."""
        return self.verdict.accepted

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """Every gate's result."""
        return self.verdict.gates

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the gates that refused it."""
        return self.verdict.refused_by

    def metric(self, name: str, part: str = "all") -> Metric:
        """Return one figure; an empty one when it was not computed."""
        return self.metrics.get(part, {}).get(name, Metric())

    def slices(self, kind: str) -> tuple[str, ...]:
        """Return the values of one kind of slice: ``slices("month")`` -> ``2025-01``, ..."""
        start = f"{kind}="
        values = [name.removeprefix(start) for name in self.metrics if name.startswith(start)]
        # sessions in the order of the day, tiers from the lowest, everything else by name
        return tuple(sorted(values, key=lambda value: (_ORDER.index(value) if value in _ORDER else 0, value)))


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One judged model."""

    passport: Passport
    cards: tuple[ProductCard, ...]

    @property
    def model_id(self) -> str:
        """Its id, which names its graph."""
        return self.passport.model_id

    @property
    def architecture(self) -> str:
        """Such as ``lstm``."""
        return self.passport.architecture

    @property
    def judged_at(self) -> str:
        """When it was judged, as ISO text; empty before."""
        return self.passport.judged.at if self.passport.judged else ""


def read_card(folder: Path) -> ModelCard:
    """Read the model in ``folder``; its metric rows and curves may be missing.

    Raises:
        ModelError: there is no passport, or it lacks what every version wrote.
    """
    passport = Passport.read(folder, with_seal=False)
    rows = Judgement.read(folder).metrics if (folder / JUDGEMENT_FILE).exists() else ()
    curves = read_curves(folder) if (folder / CURVES_FILE).exists() else {}
    cards = []
    for product in passport.products:
        # a judging of an older version that was killed half-way left a passport without verdicts
        nothing = Appraisal(accepted=False, slot=slot_of(passport.architecture, product))
        verdict = passport.verdicts.get(product, nothing)
        metrics = _metrics(verdict, [row for row in rows if row.product == product])
        cards.append(ProductCard(product, verdict, metrics, curves.get(product, ProductCurves())))
    return ModelCard(passport, tuple(cards))


def read_cards(settings: Settings, promoted: Mapping[str, str] | None = None) -> tuple[ModelCard, ...]:
    """Return the models that matter: of every slot the promoted one and the one judged last, in order of name."""
    models = []
    for path in sorted(settings.paths.checkpoints.glob(f"*/{FILE}")):
        try:
            models.append(read_card(path.parent))
        except ModelError:
            # a file that cannot be read is named by whoever would serve it; the report is about the others
            continue
    newest: dict[str, str] = {}
    for model in sorted(models, key=lambda model: model.judged_at):
        newest |= {card.slot: model.model_id for card in model.cards}
    wanted = {*(promoted or {}).values(), *newest.values()}
    return tuple(model for model in models if model.model_id in wanted)


def _metrics(verdict: Appraisal, rows: Iterable[MetricRow]) -> dict[str, dict[str, Metric]]:
    """Return the figures inside the passport, and over them the metric rows, where they are beside it."""
    metrics = {"all": {name: Metric(own.value, own.low_95, own.high_95) for name, own in verdict.metrics.items()}}
    for name, figures in verdict.baselines.items():
        metrics[f"baseline={name}"] = {metric: Metric(value) for metric, value in figures.items()}
    for name, less in verdict.against_baselines.items():
        compared = metrics.setdefault(f"baseline={name}", {})
        compared["log_loss_difference"] = Metric(less.value, less.low_95, less.high_95)
    for row in rows:
        figure = Metric(row.value, row.low_95, row.high_95, row.row_count)
        metrics.setdefault(row.slice, {})[row.metric] = figure
    return metrics
