"""What the registry asks of a judged model's files before it serves them: whole, unchanged, and accepted by every gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import ModelError
from core.files import read_json
from core.integrity import broken_seal, sha256_of
from models.registry.trials import candidate_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.registry.events import RegistryEvent


def recorded_passports(events: Sequence[RegistryEvent], model_id: str) -> tuple[str, ...]:
    """Return the sha256 of every passport a judging of ``model_id`` left, the newest last; none from older versions."""
    told = (event.details.get("passport") for event in events if event.kind == "trial" and event.model_id == model_id)
    return tuple(sha for sha in told if sha)


def require_whole(folder: Path, model_id: str, recorded: Sequence[str]) -> dict[str, Any]:
    """Return the passport in ``folder`` after seeing that graph and passport are those that were judged.

    Raises:
        ModelError: a file is missing, is of another model, or was changed since; the text names it and the repair.
    """
    repair = "put the judged files back, or judge and promote again: desk evaluate --model"
    for name in ("model.onnx", "passport.json"):
        if not (folder / name).exists():
            msg = f"{folder / name} of {model_id} is missing; {repair} {candidate_of(model_id)}"
            raise ModelError(msg)
    passport = read_json(folder / "passport.json")
    fault = broken_seal(passport)
    if passport.get("model_id") != model_id:
        fault = f"it is of {passport.get('model_id')}, not of {model_id}"
    elif fault is None and recorded and sha256_of(folder / "passport.json") not in recorded:
        fault = "it is not the one the registry recorded when the model was judged"
    elif fault is None and sha256_of(folder / "model.onnx") != passport.get("sha256"):
        fault = "the graph beside it is not the one that was judged"
    if fault is not None:
        msg = f"{folder / 'passport.json'}: {fault}; {repair} {candidate_of(model_id)}"
        raise ModelError(msg)
    return passport


def passed_slots(passport: dict[str, Any]) -> tuple[str, ...]:
    """Return the slots a judged model passed for; of one that passed nowhere every slot, so that a refusal names the gates."""
    verdicts = list(passport.get("verdicts", {}).values())
    passed = tuple(str(verdict["slot"]) for verdict in verdicts if verdict["accepted"])
    return passed or tuple(str(verdict["slot"]) for verdict in verdicts)


def require_accepted(passport: dict[str, Any], slots: Sequence[str]) -> None:
    """See that the model passed every gate for each of ``slots``.

    Raises:
        ModelError: it was not judged for one of them, or is refused there; the text names the gates.
    """
    verdicts = {found["slot"]: found for found in passport.get("verdicts", {}).values()}
    model_id = passport.get("model_id", "this model")
    if not slots:
        msg = f"{model_id} was not judged; judge it first: desk evaluate --model {candidate_of(str(model_id))}"
        raise ModelError(msg)
    for slot in slots:
        verdict = verdicts.get(slot)
        if verdict is None:
            known = ", ".join(verdicts) or "nothing"
            msg = (
                f"{model_id} was not judged for {slot}, but for {known}; name one of these, or judge it: make evaluate"
            )
            raise ModelError(msg)
        if not verdict["accepted"]:
            names = ", ".join(gate["name"] for gate in verdict["gates"] if not gate["passed"])
            msg = f"{model_id} is refused for {slot} by {names}; observe it with mode shadow, or train again"
            raise ModelError(msg)
