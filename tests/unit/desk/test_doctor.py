"""`desk doctor` on settings: what `.env` sets and nothing reads is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from core.settings import Settings
from desk import __main__ as command_line

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_doctor_names_removed_and_foreign_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("LIVE_SOURCE=trades\nTELEGRAM_TOKEN=hush\n", encoding="utf-8")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    shown = CliRunner().invoke(command_line.build("doctor"), ["doctor"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "LIVE_SOURCE is gone: there is one live feed" in shown.output
    assert "TELEGRAM_TOKEN: not Candledesk's" in shown.output
    assert "hush" not in shown.output
