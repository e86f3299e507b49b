from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.settings import load_settings
from runtime.risk.guardrails import Guardrails
from runtime.risk.loss_simulation import run_drills

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("firm", ["ftmo-2-step", "ftmo-1-step"])
def test_drill_blocks_at_every_limit(tmp_path: Path, firm: str) -> None:
    results = run_drills(load_settings(_env_file=None, desk_home=tmp_path, firm_rules=firm))
    assert [drill.limit for drill in results if not drill.is_blocked] == []
    assert {"daily", "total", "kill switch"} <= {drill.limit for drill in results}


@pytest.mark.parametrize("late_by", [1, 100])
def test_drill_notices_a_guard_that_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late_by: int) -> None:
    honest, seen = Guardrails.assess, []

    def sleepy(self: Guardrails, moment: object, equity: object, span: object = None) -> list[object]:
        seen.extend([moment] if self.left(self.rules.daily_loss, equity) <= 0 else [])  # type: ignore[arg-type]
        return [] if 0 < len(seen) <= late_by else honest(self, moment, equity, span)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(Guardrails, "assess", sleepy)
    daily = run_drills(load_settings(_env_file=None, desk_home=tmp_path))[0]
    assert not daily.is_blocked
