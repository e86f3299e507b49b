"""How a training is shown."""

from __future__ import annotations

import base64
import re

import pytest

from core.errors import ModelError
from reports.models.training_curves import curve_markdown, draw_curves, overview_markdown, read_curve
from tests.judged_models import write_candidate


def entry(member, epoch, windows, watched):
    told = {"epoch": epoch, "train_loss": 0.7 - 0.01 * epoch, "early_stop_log_loss": watched, "seconds": 1.5}
    return told | ({"member": member, "check": epoch, "windows": windows} if windows else {})


@pytest.fixture
def candidate(tmp_path):
    def write(history, name="lstm-BTC-USD-1", products=("BTC-USD",)):
        architecture = name.split("-")[0]
        return read_curve(
            write_candidate(tmp_path / name, architecture=architecture, products=products, history=history)
        )

    return write


TWO = [entry(1, 1, 1000, 0.60), entry(1, 2, 2000, 0.65), entry(2, 1, 1000, 0.69), entry(2, 2, 2000, 0.58)]


def test_the_kept_check_is_the_best_of_each_member(candidate):
    assert [(check.member, check.early_stop_log_loss) for check in candidate(TWO).best] == [(1, 0.60), (2, 0.58)]


def test_markdown_holds_the_picture_and_marks_what_was_kept(candidate):
    text = curve_markdown(candidate(TWO))
    (encoded,) = re.findall(r"!\[.+\]\(data:image/png;base64,([^)]+)\)", text)
    assert base64.b64decode(encoded).startswith(b"\x89PNG")
    assert "http" not in text  # nothing is fetched to show it
    kept = [line for line in text.splitlines() if "kept" in line]
    assert [line.split(" | ")[:3] for line in kept] == [["| 1", "1", "1,000"], ["| 2", "2", "2,000"]]


def test_picture_is_the_same_every_time(candidate):
    curve = candidate(TWO)
    assert draw_curves([curve]).png == draw_curves([curve]).png


def test_overview_has_a_line_for_each_and_names_failures(candidate):
    curves = [candidate(TWO), candidate(TWO[:1], "transformer-all-1", ("BTC-USD", "ETH-USD"))]
    text = overview_markdown(curves, ["lstm-ETH-USD: killed"])
    assert "| lstm BTC-USD | 2 | 4 | 0.58000 | +0.11315 |" in text
    assert "| transformer | 1 | 1 |" in text
    assert text.endswith("**Failed**\n\n- lstm-ETH-USD: killed")


def test_overview_of_nothing_says_so():
    assert overview_markdown([], ["lstm-ETH-USD: killed"]).startswith("Nothing was trained.")


def test_history_without_windows_is_drawn_by_epochs(candidate):
    curve = candidate([entry(1, 1, 0, 0.6), entry(1, 2, 0, 0.5)])
    assert "epoch" in draw_curves([curve]).svg


def test_boosting_is_drawn_by_rounds(candidate):
    curve = candidate([entry(1, 10, 900, 0.6), entry(1, 20, 900, 0.5)], "boosting-all-1", ("BTC-USD", "ETH-USD"))
    assert not curve.counts_windows
    assert "| member | round |" in curve_markdown(curve)


def test_missing_candidate_names_the_command(tmp_path):
    with pytest.raises(ModelError, match="make train"):
        read_curve(tmp_path)
