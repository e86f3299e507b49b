"""One page per judged model, made from its passport alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.files import write_text
from reports.models.model_card import read_card
from reports.models.plots import coverage, reliability, slices
from reports.models.tables import (
    calibration_blocks,
    facts_table,
    feasibility_blocks,
    figure,
    figures_table,
    gates_table,
    paired_table,
    rows_sentence,
    selection_blocks,
    slice_table,
)
from reports.models.training_curves import TrainingCurve, draw_curves
from reports.page.document import Cell, Document, Figures, Section, Text
from reports.page.formatting import percent

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings
    from reports.models.model_card import Metric, ModelCard, ProductCard

_CHOICES = (
    "The most confident share of the minutes, and the tiers of fixed confidence (medium from 0.65, high from 0.75). In brackets are "
    "95 % intervals; a base rate is that of the same minutes."
)


def write_model_report(settings: Settings, folder: Path) -> Path:
    """Write ``var/reports/models/<model id>.html`` from the passport in a candidate's folder.

    Raises:
        ModelError: the folder holds no readable passport.
    """
    model = read_card(folder)
    path = settings.paths.reports / "models" / f"{model.model_id}.html"
    write_text(path, model_document(model).html())
    return path


def model_document(model: ModelCard) -> Document:
    """Build one model's report."""
    accepted = [card.product for card in model.cards if card.is_accepted]
    refused = [
        f"{card.product} ({', '.join(card.failed) or 'no gate computed'})"
        for card in model.cards
        if not card.is_accepted
    ]
    parts = [f"passed every gate for {', '.join(accepted)}"] if accepted else []
    parts += [f"refused for {', '.join(refused)}"] if refused else []
    badge = Cell("passed" if accepted else "refused", "good" if accepted else "bad")
    return Document(
        title=model.model_id,
        kicker="Candledesk model report",
        lead=f"{model.architecture}, judged on its untouched test part: {'; '.join(parts) or 'no product was judged'}.",
        badge=badge,
        notices=(),
        sections=(
            Section("Is the probability true?", (reliability([model]),)),
            Section("What does confidence buy?", (coverage([model]),)),
            *(section for card in model.cards for section in _product_sections(model, card)),
            Section("How it was trained", (draw_curves(_curves(model)),)),
            Section("Passport", (facts_table(model.passport),)),
        ),
    )


def _product_sections(model: ModelCard, card: ProductCard) -> tuple[Section, ...]:
    tag, name = card.product.replace("-", "_").lower(), card.product
    month, session = slices(card, "month", f"month_{tag}"), slices(card, "session", f"session_{tag}")
    return (
        Section(f"{name}: gates", (Text(rows_sentence(card)), _figures(card), gates_table([model], name))),
        Section(f"{name}: beside its baselines", (figures_table(card), paired_table(card))),
        Section(f"{name}: calibration", calibration_blocks(card)),
        Section(f"{name}: after costs", feasibility_blocks(card)),
        Section(f"{name}: luck of the search", selection_blocks(card)),
        Section(f"{name}: through time", (month, slice_table(card, "month"), session, slice_table(card, "session"))),
        Section(f"{name}: by confidence", (Text(_CHOICES), slice_table(card, "coverage"), slice_table(card, "tier"))),
    )


def _figures(card: ProductCard) -> Figures:
    accuracy, skill = card.metric("accuracy"), card.metric("brier_skill")
    return Figures(
        (
            (
                "accuracy",
                percent(accuracy.value),
                f"{_reach(accuracy, 100, 1)}base rate {percent(card.metric('base_rate').value)}",
            ),
            ("calibration error", figure(card.metric("ece_mass").value), "ten bins of equal mass"),
            ("Brier skill", figure(skill.value), f"{_reach(skill, 1, 4)}above 0 beats the base rate"),
            ("break-even accuracy", percent(card.metric("break_even_accuracy").value), "what the costs assumed demand"),
            ("AUC", figure(card.metric("auc").value), "0.5 is a coin flip"),
            (
                "test rows",
                f"{accuracy.rows:,}" if accuracy.rows is not None else "not computed",
                "minutes, labels overlap 15 times",
            ),
        )
    )


def _reach(metric: Metric, scale: float, digits: int) -> str:
    if metric.low is None or metric.high is None:
        return ""
    return f"95 %: {scale * metric.low:.{digits}f} to {scale * metric.high:.{digits}f}; "


def _curves(model: ModelCard) -> list[TrainingCurve]:
    training, passport = model.passport.training, model.passport
    if training is None or not training.history:
        return []
    return [TrainingCurve(training.name or model.architecture, passport.candidate_id, training.history)]
