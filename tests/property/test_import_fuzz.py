"""Odd files and answers, some of those that `tests.campaign.import_fuzz` makes by the ten thousand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.campaign.import_fuzz import check_answers, check_files

if TYPE_CHECKING:
    from pathlib import Path


def test_odd_files_end_in_one_line_or_lose_no_row(tmp_path: Path) -> None:
    counts = check_files(60, 1, tmp_path)
    assert counts["files"] == 60
    assert min(counts["stored"], counts["set aside"], counts["files refused in one line"]) > 0


def test_odd_answers_lose_no_row(tmp_path: Path) -> None:
    counts = check_answers(120, 1)
    assert counts["answers"] == 120
    assert min(counts["stored"], counts["set aside"]) > 0
