"""What `desk up` says when it is up already."""

from __future__ import annotations

from configparser import ConfigParser
from typing import TYPE_CHECKING

import pytest

from core.errors import ConfigError
from core.settings import Paths
from desk import services

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is up on port 4300."""
    monkeypatch.setenv("DESK_HOME", str(tmp_path))
    monkeypatch.setattr(services, "is_up", lambda _paths: True)
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "profiles.toml").write_text('PREFECT_SERVER_API_PORT = "4300"\n')


def test_another_port_while_it_is_up_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"up already, on port 4300; stop it first: desk down, then desk up --port 4400"
    ):
        services.up(4400)


@pytest.mark.parametrize("port", [None, 4300])
def test_its_own_port_or_none_shows_where_it_is(port: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    services.up(port)
    assert "http://127.0.0.1:4300" in capsys.readouterr().out


def test_folder_with_signs_that_supervisord_expands_stays_itself(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "50% of (it)s")
    configuration = ConfigParser(interpolation=None)
    configuration.read_string(services._supervision(paths))
    # supervisord expands each value with Python's operator %
    assert configuration["supervisord"]["logfile"] % {} == str(paths.logs / "supervisord.log")
    assert configuration["program:worker"]["stdout_logfile"] % {} == str(paths.logs / "prefect-worker.log")
