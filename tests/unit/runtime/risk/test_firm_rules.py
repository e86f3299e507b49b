"""A firm's rules as data: presets, files of one's own, every shape of a limit, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.errors import ConfigError
from core.settings import load_settings
from runtime.risk.firm_rules import AccountMarks, fee_bps, rules_from
from runtime.risk.guardrails import Guardrails
from runtime.risk.paper_account import EquitySpan

if TYPE_CHECKING:
    from runtime.risk.firm_rules import FirmRules

NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)
FILE = """
title = "my firm"
read_on = 2026-12-01
reset_time = {reset_time}
reset_zone = "{reset_zone}"
daily_loss = {{base = "{daily}", limit_pct = 4, percent_of = "{percent_of}"}}
total_loss = {{base = "{total}", limit_pct = 6, locks_at_initial_capital = {locks}}}
"""


def own(tmp_path: Path, text: str, **settings: object) -> FirmRules:
    path = tmp_path / "firm.toml"
    path.write_text(text, encoding="utf-8")
    return rules_from(load_settings(_env_file=None, firm_rules=str(path), **settings))


def file(
    daily: str = "day_start_balance",
    total: str = "initial_capital",
    *,
    percent_of: str = "initial_capital",
    locks: str = "false",
    reset_time: str = "00:00:00",
    reset_zone: str = "Europe/Prague",
) -> str:
    return FILE.format(
        daily=daily, total=total, percent_of=percent_of, locks=locks, reset_time=reset_time, reset_zone=reset_zone
    )


def test_presets_say_what_was_published() -> None:
    two, one = (rules_from(load_settings(_env_file=None, firm_rules=name)) for name in ("ftmo-2-step", "ftmo-1-step"))
    assert (two.daily_loss.limit_pct, two.daily_loss.stop_pct) == (5, Decimal("4.5"))
    assert (one.daily_loss.limit_pct, one.daily_loss.stop_pct) == (3, Decimal("2.7"))
    assert (two.total_loss.base, one.total_loss.base) == ("initial_capital", "highest_day_start_balance")
    assert two.profit_target_pct == (10, 5)
    assert (two.min_trading_days, one.min_trading_days) == (4, 0)
    assert (two.best_day_pct, one.best_day_pct) == (None, 50)
    assert two.commission_bps == one.commission_bps == Decimal("3.25")
    assert two.read_on == date(2026, 12, 1)


def test_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "operations.md").read_text(encoding="utf-8")
    rules = own(tmp_path, page.split("```toml\n# FIRM_RULES")[1].split("```")[0].partition("\n")[2])
    assert rules.total_loss.locks_at_initial_capital
    assert rules.daily_loss.percent_of == "base"
    assert rules.products["ETH-USD"].max_leverage == Decimal("3.3")


def test_commission_is_the_firms_unless_a_fee_is_set() -> None:
    assert fee_bps(load_settings(_env_file=None)) == 3.25
    assert fee_bps(load_settings(_env_file=None, fee_bps=0)) == 0


def test_daily_base_is_the_higher_of_balance_and_equity_and_the_percent_is_of_it(tmp_path: Path) -> None:
    rules = own(tmp_path, file("day_start_higher", percent_of="base"))
    guard = Guardrails.fresh(rules, NOON)
    guard.roll(rules.next_reset(NOON), Decimal(100_000), Decimal(102_500))
    assert guard.base(rules.daily_loss) == 102_500
    assert guard.limit(rules.daily_loss) == Decimal(98_400)
    guard.assess(NOON, Decimal(98_400))
    assert not guard.is_ended
    guard.assess(NOON, Decimal("98399.99"))
    assert guard.is_ended


def test_highest_day_start_rises_at_resets_only_and_never_falls(tmp_path: Path) -> None:
    rules = own(tmp_path, file(total="highest_day_start_balance"))
    guard = Guardrails.fresh(rules, NOON)
    guard.assess(NOON, Decimal(109_000))
    assert guard.limit(rules.total_loss) == 94_000
    first = rules.next_reset(NOON)
    guard.roll(first, Decimal(105_000), Decimal(109_000))
    assert guard.limit(rules.total_loss) == 99_000
    guard.roll(rules.next_reset(first), Decimal(101_000), Decimal(101_000))
    assert guard.limit(rules.total_loss) == 99_000


@pytest.mark.parametrize(("locks", "limit"), [("false", 103_000), ("true", 100_000)])
def test_trailing_limit_follows_the_highest_moment_and_may_lock(tmp_path: Path, locks: str, limit: int) -> None:
    rules = own(tmp_path, file(total="highest_equity", locks=locks))
    guard = Guardrails.fresh(rules, NOON)
    guard.assess(NOON, Decimal(104_000), EquitySpan(Decimal(103_000), Decimal(104_500)))
    assert guard.limit(rules.total_loss) == 98_500
    guard.assess(NOON, Decimal(108_000), EquitySpan(Decimal(104_000), Decimal(109_000)))
    assert guard.limit(rules.total_loss) == limit
    assert guard.left(rules.total_loss, Decimal(limit)) == -Decimal(600)
    assert guard.used_pct(rules.total_loss, Decimal(limit)) == 100


def test_spike_inside_a_minute_raises_the_base_before_its_low_is_held_against_it(tmp_path: Path) -> None:
    rules = own(tmp_path, file(total="highest_equity"))
    guard = Guardrails.fresh(rules, NOON)
    guard.assess(NOON, Decimal(100_000), EquitySpan(Decimal(97_999), Decimal(104_000)))
    assert guard.is_ended


@pytest.mark.parametrize(
    ("reset_time", "zone", "moment", "day", "following"),
    [
        ("00:30:00", "UTC", (2025, 1, 15, 0, 29), (2025, 1, 14), (2025, 1, 15, 0, 30)),
        ("00:30:00", "UTC", (2025, 1, 15, 0, 30), (2025, 1, 15), (2025, 1, 16, 0, 30)),
        ("22:00:00", "UTC", (2025, 1, 15, 21, 59), (2025, 1, 14), (2025, 1, 15, 22, 0)),
        ("22:00:00", "UTC", (2025, 1, 15, 22, 0), (2025, 1, 15), (2025, 1, 16, 22, 0)),
        # the hour of 02:30 is left out that night in Prague: the day begins when it would have been
        ("02:30:00", "Europe/Prague", (2025, 3, 30, 1, 29), (2025, 3, 29), (2025, 3, 30, 1, 30)),
        ("02:30:00", "Europe/Prague", (2025, 3, 30, 1, 30), (2025, 3, 30), (2025, 3, 31, 0, 30)),
        # and stands twice in autumn: the first one counts
        ("02:30:00", "Europe/Prague", (2025, 10, 26, 0, 30), (2025, 10, 26), (2025, 10, 27, 1, 30)),
    ],
)
def test_day_begins_at_the_firms_hour(
    tmp_path: Path,
    reset_time: str,
    zone: str,
    moment: tuple[int, ...],
    day: tuple[int, int, int],
    following: tuple[int, ...],
) -> None:
    rules = own(tmp_path, file(reset_time=reset_time, reset_zone=zone))
    at = datetime(*moment, tzinfo=UTC)  # type: ignore[misc]
    assert rules.day_of(at) == date(*day)
    assert rules.next_reset(at) == datetime(*following, tzinfo=UTC)  # type: ignore[misc]
    assert rules.day_start(at) <= at < rules.next_reset(at)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (file(daily="day_begin_balance"), "daily_loss.base"),
        (file(total="high_water"), "total_loss.base"),
        (file(percent_of="equity"), "daily_loss.percent_of"),
        (file(reset_zone="Prague"), "'Prague' is no IANA time zone"),
        (file(reset_time='"midnight"'), "reset_time"),
        (file(reset_time="00:00:30"), "whole minute"),
        (file() + "trailing = true\n", "trailing"),
        (file() + "capital = 5\n", "INITIAL_CAPITAL_USD"),
        (file() + "[products.bitcoin]\nmax_lots = 5\n", "bitcoin"),
        (file() + "[products.BTC-USD]\nmax_lot = 5\n", "products.BTC-USD.max_lot"),
        (file().replace("limit_pct = 4", "limit_pct = 0"), "daily_loss.limit_pct"),
        (file().replace("limit_pct = 4", "limit_pct = nan"), "daily_loss.limit_pct"),
        (file().replace("limit_pct = 4", "limit_pct = 4, stop_pct = 4"), "must be below limit_pct"),
        (file().replace("title", "titel"), "title"),
        ("title = ", "is not TOML"),
        ("", "daily_loss"),
        ("x" * 70_000, "longer than"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        own(tmp_path, text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_stop_at_the_limit_and_phase_beyond_the_last_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stop_pct 6"):
        rules_from(load_settings(_env_file=None, daily_loss_stop_pct=6))
    with pytest.raises(ConfigError, match="FIRM_PHASE is 3"):
        rules_from(load_settings(_env_file=None, firm_phase=3))
    with pytest.raises(ConfigError, match="neither a preset"):
        rules_from(load_settings(_env_file=None, firm_rules=str(tmp_path / "none.toml")))
    with pytest.raises(ConfigError, match="neither a preset"):
        rules_from(load_settings(_env_file=None, firm_rules=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "same", "other"),
    [
        ("DAILY_LOSS_LIMIT_PCT", "5.0", "4"),
        ("TOTAL_LOSS_LIMIT_PCT", "10", "8"),
        ("PROFIT_TARGET_PCT", "10", "8"),
        ("MIN_TRADING_DAYS", "4", "5"),
        ("RESET_ZONE", "Europe/Prague", "UTC"),
    ],
)
def test_old_setting_may_stay_while_it_agrees(
    monkeypatch: pytest.MonkeyPatch, name: str, same: str, other: str
) -> None:
    monkeypatch.setenv(name, same)
    rules_from(load_settings(_env_file=None))
    monkeypatch.setenv(name, other)
    with pytest.raises(ConfigError, match=f"{name}={other} contradicts"):
        rules_from(load_settings(_env_file=None))


def test_a_first_day_is_measured_from_the_initial_capital() -> None:
    marks = AccountMarks.fresh(Decimal(50_000))
    rules = rules_from(load_settings(_env_file=None, initial_capital_usd=50_000))
    assert rules.daily_loss.base_usd(marks, rules.capital) - rules.daily_loss.limit_usd(marks, rules.capital) == 47_500
