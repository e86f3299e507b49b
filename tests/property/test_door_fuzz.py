"""A little of everything that comes from outside, nearly right; `tests.campaign.door_fuzz` tries more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.campaign.door_fuzz import check_doors

if TYPE_CHECKING:
    from pathlib import Path


def test_every_door_answers_or_refuses_in_one_line_and_changes_nothing(tmp_path: Path) -> None:
    assert len(check_doors(25, 1, tmp_path)) == 7
