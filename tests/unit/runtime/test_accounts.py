"""`desk account`: every mode has its own, a stop is lifted with a reason, and a reset begins anew without losing a row."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from core.errors import ConfigError, PreflightError, StoreError
from core.locks import runtime_lease
from desk.account import app
from store.signal_store import EPOCH, SignalStore

if TYPE_CHECKING:
    from types import SimpleNamespace

    from core.settings import Settings

runner = CliRunner()


@pytest.mark.parametrize("command", ["rearm", "reset"])
def test_command_needs_a_reason_and_a_stopped_runtime(settings: Settings, command: str) -> None:
    assert isinstance(runner.invoke(app, [command]).exception, ConfigError)
    with runtime_lease(settings.paths.home):
        running = runner.invoke(app, [command, "--reason", "new challenge"])
        assert isinstance(running.exception, PreflightError)


def test_rearming_is_recorded_for_every_mode(settings: Settings) -> None:
    assert runner.invoke(app, ["rearm", "--reason", "new challenge"]).exit_code == 0
    store = SignalStore(settings.paths.signals_db)
    for mode in ("dryrun", "shadow"):
        assert [kind for _, kind in store.restore(EPOCH, mode).risk_events] == ["rearmed"]


def test_balance_of_the_firm_is_what_limits_speak_of(settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 2, probability=0.5)
    assert isinstance(runner.invoke(app, ["set", "nothing", "--reason", "x"]).exception, ConfigError)
    assert isinstance(runner.invoke(app, ["set", "97000"]).exception, ConfigError)
    assert isinstance(runner.invoke(app, ["set", "97000", "--mode", "live", "--reason", "x"]).exception, StoreError)
    done = runner.invoke(app, ["set", "97,000.40", "--reason", "as the firm says"])
    assert "stands at 97,000.40 USD" in done.output
    desk_play.play(settings, 1, start=desk_play.minute(2), probability=0.5)
    row = desk_play.rows(
        settings,
        "select balance_usd, day_start_balance_usd, daily_used_pct from equity order by marked_at desc limit 1",
    )
    # the day began with the account's own 100,000: 2,999.60 of 5,000 are used
    assert row == [(97_000.4, 100_000.0, pytest.approx(59.992))]
    runner.invoke(app, ["set", "101000", "--day-start", "99000", "--reason", "a good day"])
    (account,) = json.loads(runner.invoke(app, ["show", "--json"]).output)
    assert (account["balance_usd"], account["day_start_balance_usd"]) == (101_000, 99_000)
    kinds = [kind for (kind,) in desk_play.rows(settings, "select kind from risk_events order by happened_at")]
    assert kinds.count("account_set") == 2


def test_show_and_reset_without_an_account(settings: Settings) -> None:
    assert "begins with 100,000.00 USD" in runner.invoke(app, ["show"]).output
    assert isinstance(runner.invoke(app, ["reset", "--reason", "x"]).exception, StoreError)


def losing(last_NF: np.ndarray) -> np.ndarray:
    return np.full(len(last_NF), 0.9)


def test_losses_in_shadow_are_not_those_of_dryrun(settings: Settings, desk_play: SimpleNamespace) -> None:
    """Losses of refused candidates in shadow blocked the promoted model in dryrun."""
    desk_play.play(settings, 40, mode="shadow", probability=losing)
    (account,) = json.loads(runner.invoke(app, ["show", "--json"]).output)
    assert account["mode"] == "shadow"
    assert account["balance_usd"] != 100_000
    desk_play.play(settings, 1, start=desk_play.minute(40), probability=0.5)
    found = {own["mode"]: own["balance_usd"] for own in json.loads(runner.invoke(app, ["show", "--json"]).output)}
    assert found == {"shadow": account["balance_usd"], "dryrun": 100_000}
    # and shadow goes on with its own
    desk_play.play(settings, 1, start=desk_play.minute(41), mode="shadow", probability=0.5)
    query = "select balance_usd from equity join sessions using (session_id) where mode = 'shadow' order by marked_at desc limit 1"
    assert desk_play.rows(settings, query)[0][0] != 100_000


def test_reset_begins_with_the_capital_of_the_settings(settings: Settings, desk_play: SimpleNamespace) -> None:
    """INITIAL_CAPITAL_USD typed wrongly once blocked for ever."""
    desk_play.play(settings, 40, probability=losing)
    right = settings.model_copy(update={"initial_capital_usd": 50_000.0})
    with pytest.raises(PreflightError, match="desk account reset"):
        desk_play.play(right, 1, start=desk_play.minute(40))
    rows = desk_play.rows(settings, "select count(*) from equity")
    environment = {"INITIAL_CAPITAL_USD": "50000"}
    done = runner.invoke(app, ["reset", "--reason", "typed wrongly"], env=environment)
    assert "new accounts begin with 50,000.00 USD" in done.output
    assert "begins with 50,000.00 USD" in runner.invoke(app, ["show"], env=environment).output
    desk_play.play(right, 1, start=desk_play.minute(40), probability=0.5)
    assert desk_play.rows(settings, "select balance_usd from equity order by marked_at desc limit 1") == [(50_000.0,)]
    assert desk_play.rows(settings, "select count(*) from equity")[0][0] > rows[0][0]
    assert SignalStore(settings.paths.signals_db).observations()[-1].why == "account reset: typed wrongly"


@pytest.mark.parametrize(
    ("feature_set", "sessions"),
    [("seed39", [(0, 24)]), ("flow", [(0, 24)]), ("seed39", [(0, 6), (6, 18)]), ("seed39", [(0, 16), (21, 4)])],
    ids=["running on", "running on, flow", "restarted within", "restarted later"],
)
def test_outage_does_not_falsify_money(
    settings: Settings, desk_play: SimpleNamespace, feature_set: str, sessions: list[tuple[int, int]]
) -> None:
    """An exchange that was silent for 20 minutes made -225 USD of +239: what it says afterwards is what counts."""
    settings = settings.model_copy(update={"feature_set": feature_set})
    whole = settings.model_copy(update={"desk_home": settings.desk_home.with_name("whole")})
    whole.__dict__.pop("paths", None)  # kept of the other folder
    desk_play.play(whole, 18, products=["BTC-USD"])

    def down(_product: str, span: Any) -> bool:
        return desk_play.minute(2) <= span.end - timedelta(minutes=1) < desk_play.minute(18)

    for first, count in sessions:
        # a start asks for its history, which the exchange must give
        provider = desk_play.FakeProvider(down=down) if first == 0 else None
        start = desk_play.START + timedelta(minutes=first)
        desk_play.play(settings, count, products=["BTC-USD"], provider=provider, start=start)
    ended = (
        "select made.open_time, closed_at, exit_price, exit_reason, pnl_usd from outcomes"
        " join signals as made using (signal_id) order by 1 limit 1"
    )
    assert desk_play.rows(settings, ended) == desk_play.rows(whole, ended) != []
    marks = (
        f"select marked_at, balance_usd, equity_usd from equity where marked_at <= '{desk_play.minute(16)}' order by 1"
    )
    assert desk_play.rows(settings, marks) == desk_play.rows(whole, marks)
    # not a signal while nobody knew what the account holds
    query = "select open_time from signals order by open_time"
    made = [open_time for (open_time,) in desk_play.rows(settings, query)]
    unknown_until = min(18, sessions[0][1])
    assert not [at for at in made if desk_play.minute(2) <= at < desk_play.minute(unknown_until)]


@pytest.mark.parametrize(
    ("later", "watched"),
    [
        (timedelta(days=8), ["BTC-USD", "ETH-USD"]),
        (timedelta(minutes=30), ["BTC-USD"]),
        (timedelta(minutes=4), ["BTC-USD"]),
    ],
    ids=["off for a week", "watched no longer", "watched no longer, and still open"],
)
def test_position_is_settled_from_the_candles_of_its_own_minutes(
    settings: Settings, desk_play: SimpleNamespace, later: timedelta, watched: list[str]
) -> None:
    """It ended with the first candle after eight days (+3,816 USD), or at 0 bps where its product was left out."""
    both = ["BTC-USD", "ETH-USD"]
    whole = settings.model_copy(update={"desk_home": settings.desk_home.with_name("whole")})
    whole.__dict__.pop("paths", None)  # kept of the other folder
    desk_play.play(whole, 18, products=both)
    desk_play.play(settings, 2, products=both)
    provider = desk_play.FakeProvider()
    desk_play.play(settings, 14, products=watched, provider=provider, start=desk_play.START + later)
    ended = (
        "select made.product, closed_at, exit_price, exit_reason, pnl_usd from outcomes"
        f" join signals as made using (signal_id) where made.open_time = '{desk_play.minute(0)}' order by 1"
    )
    assert desk_play.rows(settings, ended) == desk_play.rows(whole, ended)
    assert len(desk_play.rows(whole, ended)) == 2
    decided = {
        product
        for (product,) in desk_play.rows(
            settings, f"select product from decisions where open_time > '{desk_play.minute(3)}'"
        )
    }
    assert decided == set(watched)


def test_account_waits_no_longer_than_the_exchange_can_be_asked(settings: Settings, desk_play: SimpleNamespace) -> None:
    """A minute that nobody will ever tell of must not stop the account for ever."""
    first = desk_play.models(["BTC-USD"])["BTC-USD"]
    assert first.models
    desk_play.play(settings, 2, products=["BTC-USD"])
    state = SignalStore(settings.paths.signals_db).restore(EPOCH, "dryrun")
    assert [signal.product for signal in state.open_signals] == ["BTC-USD"]
    # the market of a week later knows nothing of that day
    desk_play.play(settings, 3, products=["BTC-USD"], start=desk_play.START + timedelta(days=6))
    assert SignalStore(settings.paths.signals_db).restore(EPOCH, "dryrun").open_signals[
        -1
    ].open_time >= desk_play.minute(1440)
