"""Judge the newest candidates on their untouched test part and promote what passes every gate."""

from __future__ import annotations

import flows  # noqa: F401  # first, so that Ctrl-C ends in one line while the rest is imported

# isort: split
from prefect import flow

from tasks.command_line import Profile, Share, run_from_shell
from tasks.features import apply_schema, latest_dataset
from tasks.market_data import publish_market
from tasks.promote import candidates_of, judge_model, promote_models, record_baseline
from tasks.runner import threads


@flow(name="promote", task_runner=threads())
def promote(
    profile: Profile | None = None,
    min_accuracy: Share | None = None,
    max_calibration_error: Share | None = None,
    candidates: str | list[str] | None = None,
    slots: str | list[str] | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Export, check parity, evaluate, apply the gates; promote by one atomic switch, or refuse with reasons.

    Args:
        profile: Which gates; GATE_PROFILE when left out.
        min_accuracy: Least accuracy, under the profile seed; MIN_ACCURACY when left out.
        max_calibration_error: Largest calibration error, under the profile seed; MAX_CALIBRATION_ERROR when left out.
        candidates: Ids of candidates, or how they begin (lstm-BTC-USD); the newest of each kind when left out.
        slots: Promote into these only, such as lstm:BTC-USD or transformer:ETH-USD; into all when left out.
        dry_run: Judge and show, promote nothing. It is a look at the test part all the same, and counts as a trial.
    """
    apply_schema()
    dataset = latest_dataset()
    chosen = candidates_of(dataset, candidates, slots)
    judging = [
        judge_model.submit(candidate, dataset, min_accuracy, max_calibration_error, profile) for candidate in chosen
    ]
    promoted = promote_models([run.result() for run in judging], slots, dry_run)
    if not dry_run:
        record_baseline(dataset)
    publish_market()
    return promoted


if __name__ == "__main__":
    run_from_shell(promote)
