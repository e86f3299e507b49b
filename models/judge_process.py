"""The child process that judges one candidate: a job as JSON on standard input, one JSON line on standard output."""

from __future__ import annotations

import json
import sys

from desk.errors import DeskError
from desk.market import CandidateRef, DatasetRef
from models.gates import GateProfile
from models.judge import judge


def main() -> int:
    """Judge what standard input describes; return 0, or 2 with the reason as a JSON line."""
    job = json.load(sys.stdin)
    candidate = CandidateRef(**job["candidate"] | {"products": tuple(job["candidate"]["products"])})
    try:
        judge(
            candidate,
            DatasetRef(**job["dataset"]),
            GateProfile(**job["gates"]),
            cost_bps=job["cost_bps"],
            trials=job["trials"],
        )
    except DeskError as error:
        _tell({"error": str(error)})
        return 2
    except MemoryError:
        _tell({"error": "out of memory"})
        return 2
    _tell({"done": True})
    return 0


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
