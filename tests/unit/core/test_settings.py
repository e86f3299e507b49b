from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from apprise.utils.parse import parse_urls

from core.errors import ConfigError, UnknownProductError
from core.settings import REMOVED, Settings, load_settings, unknown_names

ROOT = Path(__file__).resolve().parents[3]


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_env_example_and_settings_name_the_same_settings() -> None:
    assert list(example()) == [name.upper() for name in Settings.model_fields]


def test_env_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DESK_HOME")
    default = load_settings()
    shown = {name: value for name, value in example().items() if value}
    for name, value in shown.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == default


def test_env_example_has_one_comment_line_before_each_setting() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    for above, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert above.startswith("# ") and not above.startswith("# --"), line


def test_wrong_setting_names_it_and_never_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHS", "secret-nonsense")
    with pytest.raises(ConfigError, match="EPOCHS") as error:
        load_settings()
    assert "secret-nonsense" not in str(error.value)
    assert ".env.example" in str(error.value)


def test_secret_never_shows_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBASE_API_SECRET", "hush")
    monkeypatch.setenv("ALERT_URLS", "tgram://hush/1")
    assert "hush" not in repr(load_settings())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (None, ("BTC-USD", "ETH-USD", "SOL-USD")),
        ("BTC", ("BTC-USD",)),
        ("eth,SOL-USD", ("ETH-USD", "SOL-USD")),
        (["DOGE-USD"], ("DOGE-USD",)),
    ],
)
def test_resolve_products_takes_what_people_type(typed: str | list[str] | None, meant: tuple[str, ...]) -> None:
    assert load_settings().resolve_products(typed) == meant


def test_resolve_products_unknown_short_name_names_the_repair() -> None:
    with pytest.raises(UnknownProductError, match="add PEPE-USD"):
        load_settings().resolve_products("pepe")


def test_unwritable_home_is_one_line_that_names_desk_home(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match="DESK_HOME"):
        load_settings(desk_home=blocked / "var").paths.make()


def test_folders_can_be_made_by_many_threads_at_once(tmp_path: Path) -> None:
    paths = load_settings(desk_home=tmp_path / "var").paths
    with ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(lambda _: paths.make(), range(300)))) == 300


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the settings file that `load_settings` reads."""
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.delenv("DESK_HOME")
    return tmp_path / ".env"


def test_env_example_unchanged_as_env_gives_the_defaults(env_file: Path) -> None:
    default = load_settings()
    env_file.write_bytes((ROOT / ".env.example").read_bytes())
    assert load_settings() == default
    assert not load_settings().has_key
    assert [name for name in unknown_names() if name not in REMOVED] == []


@pytest.mark.parametrize("blank", ["", " ", '""', "''", "   # nothing yet"])
def test_blank_setting_is_its_default_for_every_setting(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    default = load_settings()
    env_file.write_text("".join(f"{name.upper()}={blank}\n" for name in Settings.model_fields), encoding="utf-8")
    assert load_settings() == default
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), blank.strip("\"'").partition("#")[0])
    assert load_settings() == default


def test_empty_variable_leaves_the_word_to_the_file(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("EPOCHS=3\n", encoding="utf-8")
    monkeypatch.setenv("EPOCHS", "")
    assert load_settings().epochs == 3


MISTYPED = {
    "KILLSWITCH": "KILL_SWITCH",
    "KILL-SWITCH": "KILL_SWITCH",
    "KILL_SWTICH": "KILL_SWITCH",
    "DESK_KILL_SWITCH": "KILL_SWITCH",
    "DAILY_LOSS_STOP": "DAILY_LOSS_STOP_PCT",
    "DAILY_STOP_LOSS_PCT": "DAILY_LOSS_STOP_PCT",
    "MAX_SIGNALS_PER_HOUR": "SIGNALS_PER_HOUR",
    "RISK_PER_TRADE_PERCENT": "RISK_PER_TRADE_PCT",
    "ALERT_URL": "ALERT_URLS",
}


@pytest.mark.parametrize("name", MISTYPED)
def test_mistyped_name_is_an_error_that_names_the_nearest(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    env_file.write_text(f"{name}=hush\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"\.env sets {name}, which is no setting; {MISTYPED[name]} is") as error:
        load_settings()
    assert "hush" not in str(error.value)
    env_file.unlink()
    monkeypatch.setenv(name, "hush")
    with pytest.raises(ConfigError, match=rf"the environment sets {name}, which is no setting; {MISTYPED[name]} is"):
        load_settings()


def test_lower_case_export_and_byte_order_mark_are_taken(env_file: Path) -> None:
    env_file.write_bytes(b"\xef\xbb\xbfkill_switch=on\r\nexport EPOCHS = 3\r\n")
    assert (load_settings().kill_switch, load_settings().epochs) == ("on", 3)


@pytest.mark.parametrize("line", ["KILL SWITCH=on", "KILL_SWITCH: on", "KILL_SWITCH on", "KILL_SWITCH"])
def test_line_that_would_set_nothing_is_an_error(env_file: Path, line: str) -> None:
    env_file.write_text(f"EPOCHS=3\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2 is not NAME=value"):
        load_settings()


PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIHush/hushHushHushHushHushHushHushHushHush\nAwEHoUQDQgAEhushhush==\n-----END EC PRIVATE KEY-----"
PASTED = {
    "quoted": ('"{pem}"', None),
    "quoted_in_one_line": ('"{line}"', None),
    "in_one_line": ("{line}", None),
    "unquoted": ("{pem}", 2),
    "unquoted_with_parameters": (
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{pem}",
        2,
    ),
    "only_begun": ("-----BEGIN EC PRIVATE KEY-----", 2),
    "below_its_name": ("\n{pem}", 3),
    "comma_behind_the_quotes": ('"{line}",', 2),
}


@pytest.mark.parametrize("form", PASTED)
def test_key_in_the_env_file_is_taken_or_told_how_to_paste_it(env_file: Path, form: str) -> None:
    text, number = PASTED[form]
    pasted = text.format(pem=PEM, line=PEM.replace("\n", "\\n"))
    env_file.write_text(f"COINBASE_API_KEY=k\nCOINBASE_API_SECRET={pasted}\nEPOCHS=3\n", encoding="utf-8")
    if number is None:
        secret = load_settings().coinbase_api_secret.get_secret_value()
        assert secret.replace("\\n", "\n") == PEM
        return
    with pytest.raises(ConfigError) as refused:
        load_settings()
    told = str(refused.value)
    assert told.count(".env, line") == 1
    assert f".env, line {number}: a key of several lines" in told
    assert "between double quotes" in told
    assert "ush" not in told


def test_key_in_a_comment_is_no_fault(env_file: Path) -> None:
    env_file.write_text(f"# COINBASE_API_SECRET={PEM.splitlines()[0]}\nEPOCHS=3\n", encoding="utf-8")
    assert load_settings().epochs == 3


def test_env_file_in_another_encoding_is_one_line(env_file: Path) -> None:
    env_file.write_bytes("KILL_SWITCH=on\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        load_settings()


def test_names_of_other_programs_are_no_alarm(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        "AWS_PROFILE AWS_REGION PREFECT_API_URL PREFECT_LOGGING_LEVEL HOME PATH PWD MODEL NODE_ENV TELEGRAM_TOKEN DAY COIN MARKET "
        "SOURCE_DATE_EPOCH OMP_NUM_THREADS CANDLEDESK_DATA COMPOSE_PROFILES DATABASE_URL RAY_ADDRESS TZ LANG HTTP_PROXY MODES"
    )
    for name in names.split():
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    load_settings()
    env_file.write_text("AWS_PROFILE=a\nTELEGRAM_TOKEN=b\n", encoding="utf-8")
    load_settings()
    assert unknown_names() == ["AWS_PROFILE", "TELEGRAM_TOKEN"]


def test_removed_setting_stops_nobody(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("".join(f"{name}=x\n" for name in REMOVED), encoding="utf-8")
    monkeypatch.setenv("LIVE_SOURCE", "trades")
    load_settings()
    assert "LIVE_SOURCE" in unknown_names()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("json://host/?+X-Tags=a,b", 1),
        ("tgram://1:a/2,json://host/?+X-Tags=a,b&to=c,d , mailto://u:p@host?to=x@y.z,v@w.z", 3),
        (" slack://a/b/c\tdiscord://d/e, ", 2),
        ("tgram://1/2,,tgram://1/3", 2),
        ("nonsense", 1),
        (",", 0),
    ],
)
def test_alert_urls_are_parted_as_apprise_does(monkeypatch: pytest.MonkeyPatch, text: str, count: int) -> None:
    monkeypatch.setenv("ALERT_URLS", text)
    targets = load_settings().alert_targets
    assert list(targets) == parse_urls(text.strip(" ,\t"))
    assert len(targets) == count
