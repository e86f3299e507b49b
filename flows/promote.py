"""Judge the newest candidates on their untouched test part and promote what passes every gate."""

from __future__ import annotations

from prefect import flow

from tasks.command_line import run_from_shell
from tasks.features import latest_dataset
from tasks.market_data import publish_market
from tasks.promote import candidates_of, judge_model, promote_models, record_baseline


@flow(name="promote")
def promote(min_accuracy: float | None = None, max_calibration_error: float | None = None) -> list[str]:
    """Export, check parity, evaluate, apply the gates; promote by one atomic switch, or refuse with reasons.

    Args:
        min_accuracy: Least accuracy of this run; MIN_ACCURACY when left out.
        max_calibration_error: Largest calibration error; MAX_CALIBRATION_ERROR when left out.
    """
    dataset = latest_dataset()
    candidates = candidates_of(dataset)
    judgements = [judge_model(candidate, dataset, min_accuracy, max_calibration_error) for candidate in candidates]
    promoted = promote_models(judgements)
    record_baseline(dataset, "dryrun" if promoted else "shadow")
    publish_market()
    return promoted


if __name__ == "__main__":
    run_from_shell(promote)
