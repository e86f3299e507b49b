"""What a child process tells its parent when its work ends, and when it cannot."""

from __future__ import annotations

import io
import json

import pytest

from core.child_process import REFUSED, do_job, tell
from core.errors import TrainingError


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"number": 3}'))


def test_do_job_hands_over_the_job_and_lets_it_tell(job, capsys):
    assert do_job(lambda job: tell({"twice": 2 * job["number"]})) == 0
    assert json.loads(capsys.readouterr().out) == {"twice": 6}


@pytest.mark.parametrize(
    ("error", "reason"), [(TrainingError("too few windows"), "too few windows"), (MemoryError(), "out of memory")]
)
def test_do_job_that_refuses_ends_with_the_reason(job, capsys, error, reason):
    def work(_):
        raise error

    assert do_job(work) == REFUSED
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"error": reason}


def test_do_job_lets_a_defect_through(job):
    with pytest.raises(KeyError):
        do_job(lambda job: job["nothing"])
