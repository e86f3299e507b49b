"""Which model each slot serves, and what became of the last one judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.registry import Registry
from reports.observation.verdict import Standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.settings import Settings
    from reports.models.model_card import ModelCard
    from reports.observation.record import Rows


def promoted_slots(settings: Settings, events: Rows) -> dict[str, str]:
    """Return slot -> promoted model id, from the registry file, or replayed from its published history without one.

    Raises:
        ModelError: the registry file is damaged; the text says what to do.
    """
    if settings.paths.registry.exists():
        return {slot: item.model_id for slot, item in Registry(settings.paths.registry).current().items()}
    found = {
        str(event["slot"]): str(event["model_id"]) for event in events if event["kind"] in {"promotion", "rollback"}
    }
    return {slot: model for slot, model in found.items() if model}


def standings(
    products: Sequence[str], cards: Sequence[ModelCard], promoted: Mapping[str, str], events: Rows
) -> tuple[Standing, ...]:
    """Say of each product which models serve it, and which gates refused the others."""
    return tuple(_standing(product, cards, promoted, events) for product in products)


def _standing(product: str, cards: Sequence[ModelCard], promoted: Mapping[str, str], events: Rows) -> Standing:
    serving = tuple(dict.fromkeys(model for slot, model in promoted.items() if slot.endswith(f":{product}")))
    refused = {
        model.model_id: card.failed
        for model in cards
        for card in model.cards
        if card.product == product and not card.is_accepted and model.model_id not in serving
    }
    if not refused:
        # without passports the registry's history still names the gates
        refused = {
            str(event["model_id"]): tuple(str(event["why"]).rpartition("refused by ")[2].split(", "))
            for event in events
            if event["kind"] == "refusal"
            and str(event["slot"]).endswith(f":{product}")
            and event["model_id"] not in serving
        }
    return Standing(product, serving, refused)
