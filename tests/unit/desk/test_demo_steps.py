"""The rows of `desk demo`, read from log lines as Prefect writes them."""

from __future__ import annotations

import io
import re
from contextlib import suppress

import pytest
from rich.console import Console

from desk.demo_steps import StepBoard, came_of

LOG = """\
03:43:18.580 | INFO    | prefect - Starting temporary server on http://127.0.0.1:8483
03:43:34.795 | INFO    | Flow run 'intrepid-turkey' - Beginning flow run 'intrepid-turkey' for flow 'restart'
03:43:34.900 | INFO    | Task run 'apply schema' - Finished in state Completed()
03:43:35.047 | INFO    | Task run 'check provider' - provider ready: coinbase, key ...s/demo accepted, 30 requests a second
03:43:43.677 | INFO    | Task run 'backfill BTC-USD' - candles BTC-USD: 79 %, about 2 s left; 17990 candles
03:43:47.231 | INFO    | Task run 'backfill BTC-USD' - BTC-USD: complete; 96 pages, 28785 candles stored, 15 minutes proved empty
03:43:47.909 | INFO    | Task run 'backfill ETH-USD' - ETH-USD: complete; 96 pages, 28783 candles stored, 17 minutes proved empty
03:43:47.916 | INFO    | Task run 'backfill ETH-USD' - Finished in state Completed()
03:43:49.581 | INFO    | Task run 'check quality' - 12 checks, 0 of them found rows; 47 gaps
03:43:53.735 | INFO    | Task run 'export dataset' - data set 4dd632eece356cf0 over 2025-10-21 00:00 .. 2025-11-10 00:00
03:44:00.000 | WARNING | Task run 'train lstm-BTC-USD' - memory is short
03:45:39.103 | INFO    | Task run 'train lstm-BTC-USD' - lstm-BTC-USD: best log loss 0.6933 in epoch 2, 4 checks
03:46:39.103 | INFO    | Task run 'train transformer' - transformer: best log loss 0.4536 in epoch 2, 4 checks
03:51:32.738 | INFO    | Task run 'judge lstm-BTC-USD-314a' - lstm:BTC-USD: refused by calibration_error
03:51:32.753 | INFO    | Task run 'judge lstm-BTC-USD-314a' - lstm:BTC-USD: other profiles: selective would refuse it by brier_skill
03:51:40.000 | INFO    | Task run 'judge transformer-all-daaa' - transformer:ETH-USD: passes every gate
03:51:41.000 | INFO    | Task run 'publish market' - Finished in state Completed()
03:52:00.000 | INFO    | Task run 'smoke test in dryrun' - smoke test: 60 minutes in dryrun done
03:52:10.000 | INFO    | Task run 'observe in dryrun' - observe: 4260 minutes in dryrun done
03:52:20.000 | INFO    | Task run 'report day 0' - day 0: /var/reports/observation/day0.md
03:52:30.000 | INFO    | Task run 'write verdict' - verdict: NEED MORE: nothing failed (mode: dryrun); /var/summary.html
a line of some library
"""
OUTCOMES = {
    "server": "ready",
    "market": "signed requests accepted",
    "candles": "57,568 stored, 32 minutes proved empty",
    "features": "data set 4dd632eece356cf0, 0 failed checks",
    "training": "2 models, best log loss 0.4536",
    "gates": "1 accepted, 1 refused",
    "runtime": "4,320 minutes decided",
    "reports": "1 day",
    "verdict": "NEED MORE",
}


def shown(log: str, *, is_terminal: bool) -> str:
    console = Console(width=80, file=io.StringIO(), force_terminal=is_terminal, color_system=None)
    with StepBoard(console, products=2, trainings=2) as board:
        for line in log.splitlines():
            board.feed(line)
    return console.file.getvalue()


def test_log_becomes_one_line_a_step_with_what_came_of_it():
    lines = shown(LOG, is_terminal=False).splitlines()
    assert lines.count("warning: memory is short") == 1
    rows = [line.split(None, 1) for line in lines if not line.startswith("warning")]
    assert rows == [list(pair) for pair in OUTCOMES.items()]


def test_terminal_of_80_columns_has_a_bar_a_step_on_one_line():
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(LOG, is_terminal=True)).split("\r")[-1]
    rows = [line.rstrip() for line in last.splitlines() if "━" in line]
    assert [row.split()[0] for row in rows] == list(OUTCOMES)
    assert all(row.count("━") == 16 for row in rows)
    assert all(row.endswith(outcome) for row, outcome in zip(rows, OUTCOMES.values(), strict=True))


def test_resumed_run_that_skips_steps_shows_those_it_ran():
    log = "\n".join(line for line in LOG.splitlines() if "write verdict" in line)
    assert shown(log, is_terminal=False).splitlines()[-1].split()[0] == "verdict"


@pytest.mark.parametrize("step", OUTCOMES)
def test_step_that_logged_nothing_has_an_outcome_all_the_same(step):
    assert came_of(step, [])


def test_failed_run_leaves_its_step_open():
    console = Console(width=80, file=io.StringIO())
    with suppress(ZeroDivisionError), StepBoard(console, products=1, trainings=1) as board:
        board.feed(LOG.splitlines()[4])
        board.feed(str(1 / 0))
    assert "candles" not in console.file.getvalue()
