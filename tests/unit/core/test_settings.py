from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.errors import ConfigError, UnknownProductError
from core.settings import Settings, load_settings

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


def test_stop_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILY_LOSS_STOP_PCT", "6")
    with pytest.raises(ConfigError, match="DAILY_LOSS_STOP_PCT must be below"):
        load_settings()


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
