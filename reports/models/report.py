"""One page per judged model, made from its passport alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import ModelError
from reports.models.facts import calibration_blocks, feasibility_blocks, rows_sentence, selection_blocks
from reports.models.model_card import read_card
from reports.models.plots import coverage, reliability, slices, training_curve
from reports.models.tables import baseline_table, figure, gates_table, paired_table, slice_table
from reports.page.document import Cell, Document, Figures, Section, Table, Text
from reports.page.formatting import percent

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings
    from reports.models.model_card import Metric, ModelCard, ProductCard

_CHOICES = (
    "The most confident share of the minutes, and the tiers of fixed confidence (medium from 0.65, high from 0.75). In brackets are "
    "95 % intervals; a base rate is that of the same minutes."
)
_FACTS = (
    ("data set", ("dataset_digest",)),
    ("feature set", ("feature_set",)),
    ("sha256 of its SQL", ("feature_hash",)),
    ("sha256 of the graph", ("sha256",)),
    ("input window, minutes", ("window_minutes",)),
    ("opset", ("opset",)),
    ("gate profile", ("judged", "profile", "name")),
    ("round-trip cost assumed, bps", ("judged", "cost_bps")),
    ("judged on every n-th minute", ("judged", "stride_minutes")),
    ("trials before it", ("judged", "trials")),
    ("largest difference between graph and torch", ("parity", "largest_difference")),
    ("training seconds", ("training", "seconds")),
    ("training windows", ("training", "windows")),
    ("best epoch", ("training", "best_epoch")),
    ("commit that trained it", ("training", "commit")),
    ("commit that judged it", ("judged", "commit")),
)


def write_model_report(settings: Settings, folder: Path) -> Path:
    """Write ``var/reports/models/<model id>.html`` from the passport in a candidate's folder.

    Raises:
        ModelError: the folder holds no readable passport.
    """
    model = read_card(folder / "passport.json")
    if model is None:
        msg = f"{folder / 'passport.json'} is missing or damaged; judge the model again: make evaluate"
        raise ModelError(msg)
    path = settings.paths.reports / "models" / f"{model.model_id}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(model_document(model).html(), encoding="utf-8")
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
            Section("How it was trained", (training_curve(model),)),
            Section("Passport", (_facts(model),)),
        ),
    )


def _product_sections(model: ModelCard, card: ProductCard) -> tuple[Section, ...]:
    tag, name = card.product.replace("-", "_").lower(), card.product
    month, session = slices(card, "month", f"month_{tag}"), slices(card, "session", f"session_{tag}")
    return (
        Section(f"{name}: gates", (Text(rows_sentence(card)), _figures(card), gates_table([model], name))),
        Section(f"{name}: beside its baselines", (baseline_table([model], name), paired_table(card))),
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


def _facts(model: ModelCard) -> Table:
    return Table(("what", "which"), tuple((label, Cell(model.text(*path), "code")) for label, path in _FACTS))
