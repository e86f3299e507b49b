"""The child process that judges one candidate: a job as JSON on standard input; its result is in the files it writes."""

from __future__ import annotations

import sys
from typing import Any

from core.child_job import do_job
from core.dataset_files import DatasetRef
from models.gates import GateProfile
from models.judging.judge import judge
from models.training.spec import CandidateRef


def main() -> int:
    """Judge what standard input describes; return 0, or 2 with the reason as a JSON line."""
    return do_job(_judge)


def _judge(job: dict[str, Any]) -> None:
    judge(
        CandidateRef(**job["candidate"] | {"products": tuple(job["candidate"]["products"])}),
        DatasetRef(**job["dataset"]),
        GateProfile(**job["gates"]),
        cost_bps=job["cost_bps"],
        trials=job["trials"],
    )


if __name__ == "__main__":
    sys.exit(main())
