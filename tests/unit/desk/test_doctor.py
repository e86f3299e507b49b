"""`desk doctor`: what `.env` sets and nothing reads is named; the key is read, and tried when asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from core.settings import Settings, exposed_files
from desk import __main__ as command_line
from desk import doctor as command
from market.exchange.auth import TokenChecker
from market.exchange.faults import ExchangeAnswer
from market.exchange.server import running
from market.exchange.state import Exchange, Present, TokenBucket
from market.providers import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY_NAME = "organizations/0a1b/apiKeys/2c3d4e5f"
KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


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


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what `desk doctor` prints, as one line: shown(words, SETTING=value)."""
    monkeypatch.setattr(command, "_SOON", RetryPolicy(attempts=3, wait_initial=0, wait_max=0, wait_jitter=0))

    def run(*words: str, **settings: str) -> str:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(command_line.build("doctor"), ["doctor", *words], env={"COLUMNS": "250"})
        assert done.exit_code == 0, done.output
        assert not any(line in done.output for line in SECRET.splitlines()[1:-1])
        return done.output

    return run


def line(output: str, what: str) -> str:
    (found,) = [text for text in output.splitlines() if text[2:].strip().startswith((f"ok {what}", f"-- {what}", what))]
    return " ".join(found.split())


@pytest.mark.parametrize("case", ["right", "wrong", "no_permission", "no_key"])
def test_online_tries_the_key_with_one_signed_request(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    key = KEY if case != "wrong" else ec.generate_private_key(ec.SECP256R1())
    exchange = Exchange(
        {}, Present(datetime.now(UTC)), TokenChecker({KEY_NAME: key.public_key()}), TokenBucket(0), TokenBucket(0)
    )
    if case == "no_permission":
        monkeypatch.setattr(
            "market.exchange.app._permissions", lambda *_: ExchangeAnswer(json.dumps({"can_view": False}))
        )
    named = {} if case == "no_key" else {"COINBASE_API_KEY": KEY_NAME, "COINBASE_API_SECRET": SECRET}
    with running(exchange) as url:
        told = line(shown("--online", COINBASE_BASE_URL=url, **named), "online")
    right = {
        "right": "key ...3d4e5f accepted, 30 requests a second",
        "wrong": "refused the API key ...3d4e5f 3 times",
        "no_permission": "the API key ...3d4e5f may not read give it the View permission",
        "no_key": "public data, 10 requests a second",
    }
    assert right[case] in told


def test_online_unreachable_is_one_line(shown: Callable[..., str]) -> None:
    told = line(shown("--online", COINBASE_BASE_URL="http://127.0.0.1:9/api/v3/brokerage"), "online")
    assert "127.0.0.1 gave no useful answer in 3 tries" in told
    assert "run the same command again" in told


@pytest.mark.parametrize("provider", ["synthetic", "nonsense"])
def test_online_with_another_provider_is_one_line(shown: Callable[..., str], provider: str) -> None:
    assert "online" in line(shown("--online", PROVIDER=provider), "online")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"COINBASE_API_KEY": KEY_NAME, "COINBASE_API_SECRET": SECRET}, "coinbase with the key ...3d4e5f"),
        ({"COINBASE_API_KEY": KEY_NAME}, "COINBASE_API_SECRET is not"),
        ({"COINBASE_API_KEY": KEY_NAME, "COINBASE_API_SECRET": "hush"}, "paste a PEM private key"),
        ({"COINBASE_KEY_FILE": "nowhere.json"}, "COINBASE_KEY_FILE nowhere.json cannot be read"),
    ],
)
def test_doctor_reads_the_key_that_is_set(shown: Callable[..., str], settings: dict[str, str], words: str) -> None:
    assert words in " ".join(shown(**settings).split())
