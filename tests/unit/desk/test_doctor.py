"""`desk doctor` on settings: what `.env` sets and nothing reads is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from core.settings import Settings, exposed_files
from desk import __main__ as command_line

if TYPE_CHECKING:
    from pathlib import Path


def test_doctor_names_removed_and_foreign_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("LIVE_SOURCE=trades\nTELEGRAM_TOKEN=hush\n", encoding="utf-8")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    shown = CliRunner().invoke(command_line.build("doctor"), ["doctor"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "LIVE_SOURCE is gone: there is one live feed" in shown.output
    assert "TELEGRAM_TOKEN: not Candledesk's" in shown.output
    assert "hush" not in shown.output
    assert f"of {tmp_path / '.env'} and the environment" in " ".join(shown.output.split())


@pytest.mark.parametrize(
    ("mode", "text", "words"),
    [
        (0o666, "KILL_SWITCH=off", "others may write {file}, and so decide what is set here; run: chmod 600 '{file}'"),
        (0o620, "KILL_SWITCH=off", "others may write {file}"),
        (0o644, "COINBASE_API_SECRET=hush", "others may read the secrets in {file}; run: chmod 600"),
        (0o644, "KILL_SWITCH=off", None),
        (0o600, "COINBASE_API_SECRET=hush", None),
    ],
)
@pytest.mark.parametrize("name", ["settings", "key"])
def test_file_that_others_may_change_or_read_is_named_with_its_repair(
    name: str, mode: int, text: str, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a 5% file"
    file.write_text("{}" if name == "key" else text, encoding="utf-8")
    file.chmod(mode)
    if name == "settings":
        monkeypatch.setitem(Settings.model_config, "env_file", file)
    elif mode == 0o644:
        # a key file is nothing but a secret
        words = "others may read the secrets in {file}"
    warnings = exposed_files(Settings(coinbase_key_file=file if name == "key" else None))
    assert len(warnings) == (words is not None)
    assert all((words or "").format(file=file) in warning and "hush" not in warning for warning in warnings)


def test_env_file_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("KILL_SWITCH=on\n", encoding="utf-8")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.setattr("os.geteuid", lambda: 54_321)
    owner = (tmp_path / ".env").stat().st_uid
    assert ("belongs to another user" in " ".join(exposed_files(Settings()))) == (owner != 0)
