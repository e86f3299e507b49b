"""Train, judge and promote in small universes, in a child process: runs as JSON on standard input, a JSON line for each."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.child_process import do_job, tell
from core.dataset_files import DatasetRef
from core.errors import DeskError
from models.gates import GateProfile
from models.judging.judge import judge
from models.judging.promotion import promote
from models.registry import Registry
from models.serving.passport import Passport
from models.training.candidate import finished, spec_from_json
from models.training.train_process import train
from validation.null_market.universe import Universe, UniverseOutcome, failed, outcome, shuffled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.training.candidate import CandidateRef


def main() -> int:
    """Do the runs that standard input names; return 0, or 2 with the reason as a JSON line.

    A run is ``{"universe", "dataset", "folder", "spec", "gates", "cost_bps"}``.
    """
    return do_job(_try)


def _try(job: dict[str, Any]) -> None:
    for run in job["runs"]:
        tell({"outcome": asdict(try_universe(run))})


def try_universe(run: Mapping[str, Any]) -> UniverseOutcome:
    """Take one universe from its data set to a promotion, or to a refusal, in a folder and with a registry of its own."""
    universe, folder = Universe(**run["universe"]), Path(run["folder"])
    began = time.monotonic()
    try:
        reference = DatasetRef(**run["dataset"])
        if universe.shuffle:
            reference = shuffled(reference, folder / "datasets", universe.market_seed, universe.shuffle)
        candidate = _trained(run["spec"], reference, folder / "candidate")
        judgement = judge(candidate, reference, GateProfile(**run["gates"]), cost_bps=run["cost_bps"], trials=1)
        registry = Registry(folder / "registry.json")
        registry.record_judgement(judgement)
        accepted = [verdict.slot for verdict in judgement.verdicts if verdict.accepted]
        if accepted:
            promote(registry, Path(candidate.path), accepted, why="null-check")
        passport = Passport.read(Path(candidate.path))
    except DeskError as error:
        return failed(universe, str(error))
    product = judgement.verdicts[0].product
    profiles = passport.verdicts[product].profiles
    return outcome(universe, judgement, profiles, promoted=bool(registry.current()), seconds=time.monotonic() - began)


def _trained(spec: Mapping[str, Any], reference: DatasetRef, folder: Path) -> CandidateRef:
    folder.mkdir(parents=True, exist_ok=True)
    train(spec_from_json(dict(spec)), reference, folder)
    candidate = finished(folder)
    if candidate is None:  # the weights just written are not those the marker names
        msg = f"{folder} holds no whole candidate although its training ended"
        raise DeskError(msg)
    return candidate


if __name__ == "__main__":
    sys.exit(main())
