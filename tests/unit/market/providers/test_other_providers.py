"""The synthetic provider, the choice of a provider, the exchange's clock."""

import asyncio
import os
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from core.candles import Span
from core.clock import ManualClock
from core.errors import ConfigError, ExchangeUnavailableError, UnknownProductError
from core.settings import load_settings
from market.exchange.server import running
from market.exchange.state import Present
from market.providers import ExchangeClock, open_provider
from market.providers.ccxt_provider import CcxtProvider
from market.providers.coinbase import CoinbaseProvider
from market.providers.extras import EXTRAS, is_installed
from market.providers.synthetic import SyntheticProvider
from market.providers.yfinance_provider import YahooProvider

MINUTE = timedelta(minutes=1)
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def synthetic(present, tmp_path):
    return SyntheticProvider(load_settings(desk_home=tmp_path), clock=ManualClock(present + timedelta(seconds=30)))


def test_synthetic_pages_are_closed_and_named(synthetic, collect, present):
    pages = collect(
        synthetic, "BTC-USD", [Span(present - 10 * MINUTE, present + 10 * MINUTE), Span(present, present + MINUTE)]
    )
    assert [page.window for page in pages] == [Span(present - 10 * MINUTE, present)]
    assert pages[0].source == "synthetic" and len(pages[0].candles) == 10


def test_synthetic_market_is_the_same_twice(synthetic, collect, present, tmp_path):
    again = SyntheticProvider(load_settings(desk_home=tmp_path), clock=ManualClock(present))
    window = [Span(present - 300 * MINUTE, present)]
    assert collect(synthetic, "ETH-USD", window)[0].candles == collect(again, "ETH-USD", window)[0].candles


def test_synthetic_check_says_it_is_not_real(synthetic, run):
    assert (
        run(synthetic, lambda provider: provider.check())
        == "synthetic market, seed 7, in this process: not real prices"
    )


def test_synthetic_first_candle_is_the_first(synthetic, run, present):
    span = Span(present.replace(year=2020), present)
    assert f"{run(synthetic, lambda provider: provider.first_candle('BTC-USD', span)):%Y-%m-%d}" == "2024-01-01"
    early = Span(present.replace(year=2020), present.replace(year=2021))
    assert run(synthetic, lambda provider: provider.first_candle("BTC-USD", early)) is None


def test_synthetic_refuses_a_malformed_product(synthetic, collect, present):
    with pytest.raises(UnknownProductError):
        collect(synthetic, "bitcoin", [Span(present - MINUTE, present)])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("coinbase", CoinbaseProvider),
        ("synthetic", SyntheticProvider),
        ("ccxt", CcxtProvider),
        ("yfinance", YahooProvider),
    ],
)
def test_provider_named_in_the_settings_is_opened(tmp_path, name, kind):
    if name in EXTRAS:
        pytest.importorskip(name)
    provider = open_provider(load_settings(desk_home=tmp_path, provider=name))
    assert isinstance(provider, kind) and provider.name == name
    asyncio.run(provider.aclose())


def test_unknown_provider_is_refused_with_the_names_there_are(tmp_path):
    with pytest.raises(ConfigError, match="coinbase, synthetic, ccxt, yfinance"):
        open_provider(load_settings(desk_home=tmp_path, provider="binance"))


@pytest.mark.parametrize("name", EXTRAS)
def test_provider_whose_extra_is_missing_names_the_command_and_nothing_takes_its_place(tmp_path, monkeypatch, name):
    for module in [item for item in sys.modules if item.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as raised:
        open_provider(load_settings(desk_home=tmp_path, provider=name))
    assert f"PROVIDER={name} needs the extra {name}" in str(raised.value)
    assert str(raised.value).endswith(f".venv/bin/pip install -c constraints.txt -e '.[{name}]'")
    assert not is_installed(name)


def test_install_command_names_extras_that_there_are():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert all(extras[name] == [name] for name in EXTRAS)


def test_library_of_an_extra_is_not_imported_unless_chosen(tmp_path):
    program = (
        "import sys; from core.settings import load_settings; from market.providers import open_provider;"
        "import desk.doctor;"
        "[open_provider(load_settings(provider=name)) for name in ('coinbase', 'synthetic')];"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'ccxt', 'yfinance', 'aiohttp', 'pandas'}))"
    )
    environment = {**os.environ, "DESK_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def stub_clock(moments, *, stepped=False):
    """Return a transport whose exchange shows one moment after the other, and what was posted to it."""
    posted = []

    def answer(request):
        if request.method == "POST":
            posted.append(request.content)
        shown = moments.pop(0) if len(moments) > 1 else moments[0]
        return httpx.Response(200, json={"now": shown.isoformat(), "stepped": stepped})

    return httpx.MockTransport(answer), posted


def test_exchange_clock_reads_the_exchanges_present(present):
    transport, _ = stub_clock([present])
    clock = ExchangeClock("http://x/api", batch_minutes=20, transport=transport)
    assert clock.now() == present and clock.batch_minutes == 20
    clock.close()


def test_exchange_clock_steps_a_stepped_exchange(present):
    transport, posted = stub_clock([present, present + MINUTE], stepped=True)
    clock = ExchangeClock("http://x/api", transport=transport)
    clock.wait_until(present + MINUTE)
    assert len(posted) == 1 and (present + MINUTE).isoformat().encode() in posted[0]
    clock.close()


def test_exchange_clock_sleeps_while_a_running_exchange_gets_there(present):
    transport, posted = stub_clock([present, present + timedelta(seconds=30), present + MINUTE])
    naps = []
    clock = ExchangeClock("http://x/api", transport=transport, sleep=naps.append)
    clock.wait_until(present + MINUTE)
    assert naps == [0.2, 0.2] and posted == []
    clock.close()


def test_exchange_clock_does_not_wait_for_the_past(present):
    transport, posted = stub_clock([present], stepped=True)
    clock = ExchangeClock("http://x/api", transport=transport)
    clock.wait_until(present - MINUTE)
    assert posted == []
    clock.close()


def test_exchange_clock_of_the_real_exchange_has_no_controls():
    clock = ExchangeClock("https://api.coinbase.com/api/v3/brokerage/")
    assert clock.is_local is False
    clock.close()


def test_exchange_clock_without_an_exchange_says_so(monkeypatch):
    import stamina

    def refuse(request):
        raise httpx.ConnectError("refused", request=request)

    stamina.set_testing(True)
    clock = ExchangeClock("http://x/api", transport=httpx.MockTransport(refuse))
    with pytest.raises(ExchangeUnavailableError, match="is it running"):
        clock.now()
    clock.close()
    stamina.set_testing(False)


def test_over_a_real_socket_clock_and_pages_agree_and_a_reset_is_survived(make_exchange, make_provider, run, present):
    exchange = make_exchange(Present(present, stepped=True))
    exchange.faults.plan([{"kind": "reset", "count": 2}])
    with running(exchange) as url:
        clock = ExchangeClock(url)
        clock.wait_until(present + 5 * MINUTE)
        provider = make_provider(None, coinbase_base_url=url)

        async def work(opened):
            window = Span(present - 60 * MINUTE, present + 60 * MINUTE)
            return [page async for page in opened.pages("BTC-USD", [window])], await opened.check()

        (page,), line = run(provider, work)
        clock.close()
    assert page.window.end == present + 5 * MINUTE == exchange.present.now()
    assert list(page.candles) == exchange.markets["BTC-USD"].candles(page.window)
    assert exchange.faults.happened == {"reset": 2} and "(planted market)" in line


def test_over_a_real_socket_a_wrong_clock_is_seen_beside_a_simulated_present(
    make_exchange, make_provider, run, present
):
    from datetime import UTC, datetime

    from core.errors import ClockSkewError

    with running(make_exchange()) as url:
        wrong = ManualClock(datetime.now(UTC) - timedelta(seconds=60))
        provider = make_provider(None, coinbase_base_url=url, clock=wrong)
        with pytest.raises(ClockSkewError, match="seconds behind"):
            run(provider, lambda opened: opened.check())
