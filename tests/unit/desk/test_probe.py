"""`desk probe coinbase` against local exchanges with their switches set both ways: it has to learn the right value."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from core.errors import ConfigError, ExchangeUnavailableError
from core.settings import load_settings
from desk import probe
from desk.exchange import build_markets
from market.exchange.app import build_app
from market.exchange.auth import TokenChecker
from market.exchange.behaviour import Behaviour, parse_behaviour
from market.exchange.server import running
from market.exchange.state import Exchange, Present, TokenBucket
from market.probe import questions as table
from market.probe.questions import ON_THE_WAY, PROVOKED, QUESTIONS
from market.probe.session import ProbeSession
from market.providers.coinbase import CoinbaseProvider

PRESENT = datetime(2024, 3, 1, 12, 0, 20, tzinfo=UTC)
LISTED = PRESENT.replace(second=0) - timedelta(days=1)
KEY_NAME = "organizations/0a1b/apiKeys/2c3d4e5f"


@pytest.fixture(scope="module")
def markets():
    return build_markets("planted", ("BTC-USD", "SOL-USD"), listed_at={"BNB-USD": LISTED})


@pytest.fixture(params=["ES256", "EdDSA"])
def key(request):
    return ec.generate_private_key(ec.SECP256R1()) if request.param == "ES256" else ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def make(markets):
    """Return a function that makes an exchange with some switches set."""

    def build(key=None, rate=0.0, **switches):
        return Exchange(
            markets,
            Present(PRESENT, stepped=True),
            TokenChecker({KEY_NAME: key.public_key()} if key else {}),
            TokenBucket(rate),
            TokenBucket(0),
            behaviour=Behaviour(**switches),
        )

    return build


@pytest.fixture
def learn(tmp_path):
    """Return a function that asks an exchange and gives the findings by question; time passes only while it sleeps."""

    def go(exchange, questions=None, *, key=None, watch=0.0, transport=None):
        options = {"coinbase_base_url": "http://exchange.test/api/v3/brokerage"}
        options |= dict.fromkeys(("public_requests_per_second", "private_requests_per_second"), 1000)
        if key:
            secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
            options |= {"coinbase_api_key": KEY_NAME, "coinbase_api_secret": secret}
        settings = load_settings(desk_home=tmp_path / "var", **options)
        provider = CoinbaseProvider(settings, transport=transport or httpx.ASGITransport(app=build_app(exchange)))

        async def sleep(seconds):
            exchange.present.advance(exchange.present.now() + timedelta(seconds=seconds))

        requested = questions or [question for question in QUESTIONS if key or not question.needs_key]
        session = ProbeSession(provider, "BTC-USD", watch, sleep)
        return {finding.question: finding for finding in asyncio.run(session.run([*requested, *ON_THE_WAY]))}

    return go


def switches(findings):
    return [finding.setting for finding in findings.values() if finding.setting]


def only(name):
    return [question for question in QUESTIONS if question.name == name]


def test_probe_of_the_local_exchange_as_it_is_agrees_with_itself(make, learn, key):
    findings = learn(make(key), key=key)
    assert {name: finding.learned for name, finding in findings.items() if finding.verdict == "differs"} == {}
    assert switches(findings) == []
    open_ones = [name for name, finding in findings.items() if finding.verdict == "open"]
    assert open_ones == ["candles of a delisted product"] and len(findings) == 22
    assert all(finding.evidence for name, finding in findings.items() if not name.startswith("x-ratelimit"))


@pytest.mark.parametrize(
    ("inclusive", "rule", "cap"), list(product([True, False], ["buckets", "span"], [300, 349, 350, 351]))
)
def test_probe_learns_the_end_and_the_exact_edge_of_the_cap(make, learn, inclusive, rule, cap):
    shape = {"end_inclusive": inclusive, "cap_rule": rule, "cap": cap}
    findings = learn(make(**shape), only("end") + only("cap"))
    learned = parse_behaviour([word for text in switches(findings) for word in text.split() if word != "--behaviour"])
    assert learned == Behaviour(**shape)
    edge = findings["cap"].learned
    most = cap if (rule, inclusive) == ("buckets", False) else cap - 1
    assert f" {most}+ {most + 1}- " in f"{edge} "


@pytest.mark.parametrize(
    "switch",
    [
        {"unknown_candles_status": 404},
        {"before_listing_status": 400},
        {"before_listing_status": 404},
        {"delisted_candles_status": 400, "delisted": ("SOL-USD",)},
        {"delisted_candles_status": 404, "delisted": ("SOL-USD",)},
        {"limit_keeps": "oldest"},
        {"window_required": False},
        {"usdc_aliases": False},
        {"public_checks_tokens": True},
    ],
)
def test_probe_learns_each_switch_and_names_it(make, learn, switch):
    name, value = next(iter(switch.items()))
    findings = learn(make(**switch))
    assert switches(findings) == [f"--behaviour {name}={value if isinstance(value, str) else json.dumps(value)}"]


def test_probe_finds_that_a_delisted_product_is_still_served(make, learn):
    finding = learn(make(delisted=("SOL-USD",)), only("products"))["candles of a delisted product"]
    assert finding.verdict == "agrees" and finding.learned == "SOL-USD: served, the last 2024-03-01"


@pytest.mark.parametrize(
    ("steps", "verdict", "learned"),
    [
        (["0.01", "0.00000001"], "agrees", "0.00000001 among 2 products"),
        (["0.01", "0.0000000001", "1e-9"], "differs", "0.0000000001 among 3 products; finer: P1-USD, P2-USD"),
        ([None, ""], "open", "none told by 2 products"),
    ],
)
def test_probe_finds_prices_that_the_store_would_round(make, learn, steps, verdict, learned):
    exchange = make()
    pages = [{"product_id": f"P{at}-USD", "quote_increment": step} for at, step in enumerate(steps)]

    class Listing(httpx.ASGITransport):
        async def handle_async_request(self, request):
            if request.url.path.endswith("/market/products"):
                return httpx.Response(200, json={"products": pages})
            return await super().handle_async_request(request)

    finding = learn(exchange, only("products"), transport=Listing(app=build_app(exchange)))["finest step of a price"]
    assert (finding.verdict, finding.learned) == (verdict, learned)


@pytest.mark.parametrize("seconds", [0.0, 2.0, 5.0])
def test_probe_learns_the_leeway_of_token_times(make, learn, key, seconds):
    finding = learn(make(key, token_leeway_seconds=seconds), only("leeway"), key=key)["leeway of a token's times"]
    assert finding.setting == (f"--behaviour token_leeway_seconds={seconds}" if seconds else "")


def test_probe_learns_that_a_token_may_be_sent_twice(make, learn, key):
    assert switches(learn(make(key, nonce_once=False), only("nonce"), key=key)) == ["--behaviour nonce_once=false"]


def test_good_tokens_refused_now_and_then_mislead_nobody(make, learn, key):
    exchange = make(key)
    exchange.faults.plan([{"kind": "401", "count": 2, "path": "key_permissions"}])
    assert switches(learn(exchange, only("key") + only("nonce") + only("leeway"), key=key)) == []
    assert exchange.faults.happened == {"401": 2}


@pytest.mark.parametrize(
    ("switch", "least", "most"), [("published_after_seconds", 20, 35), ("settles_after_seconds", 20, 35)]
)
def test_probe_sees_minutes_that_appear_or_settle_late(make, learn, switch, least, most):
    findings = learn(make(**{switch: 25.0}), only("settling"), watch=130.0)
    (setting,) = switches(findings)
    name, _, value = setting.removeprefix("--behaviour ").partition("=")
    assert name == switch and least <= float(value) <= most


def test_probe_of_a_stepped_clock_looks_twice_and_no_more(make, learn, monkeypatch):
    exchange = make()
    monkeypatch.setattr(exchange.present, "advance", lambda moment: moment)
    learned = learn(exchange, only("settling"), watch=600.0)["closed minutes, looked at again"].learned
    assert learned.startswith("2 looks")


@pytest.mark.parametrize(
    ("body", "wait", "headers"), [("html", None, False), ("json", 2.0, True), ("empty", None, False)]
)
def test_provoked_429_is_described(make, learn, body, wait, headers):
    exchange = make(rate=5.0, limit_body=body, limit_retry_after=wait, limit_headers=headers)
    exchange.public.take, limited = lambda: True, exchange.public.take
    # only the provoking requests meet the bucket
    original = PROVOKED.ask

    async def provoke(market):
        exchange.public.take = limited
        return await original(market)

    finding = learn(exchange, [replace(PROVOKED, ask=provoke)])["429"]
    assert body in finding.learned and f"limit_body={body}" in finding.setting + "limit_body=html"
    assert (finding.verdict == "agrees") is (body == "html") and exchange.counts["status_429"] == 1


def test_429_met_on_the_way_is_waited_out_and_told(make, learn):
    exchange = make()
    exchange.faults.plan([{"kind": "429", "count": 1, "body": "json"}])
    findings = learn(exchange, only("end"))
    assert findings["end of the window"].verdict == "agrees" and "met on the way" in findings["429"].learned


def test_private_candles_that_differ_are_told_without_a_switch(make, learn, key):
    exchange = make(key)

    class Other(httpx.ASGITransport):
        async def handle_async_request(self, request):
            response = await super().handle_async_request(request)
            if "/market/" in request.url.path or "candles" not in request.url.path:
                return response
            content = json.loads(await response.aread())
            content["candles"][3]["volume"] = "1"
            return httpx.Response(200, json=content)

    finding = learn(exchange, only("twin"), key=key, transport=Other(app=build_app(exchange)))["private candles"]
    assert (finding.verdict, finding.learned, finding.setting) == ("differs", "1 minutes differ", "no switch does this")


def test_exchange_without_a_cap_differs_and_no_switch_is_made_up(make, learn):
    finding = learn(make(cap=20_000), only("cap"))["cap"]
    assert finding.verdict == "differs" and "10000 minutes are answered" in finding.learned


def test_exchange_that_never_answers_is_an_error(make, learn):
    exchange = make()
    exchange.faults.plan([{"kind": "500", "probability": 1.0, "path": "products"}])
    with pytest.raises(ExchangeUnavailableError, match="no useful answer in 5 tries"):
        learn(exchange)


@pytest.fixture
def desk(monkeypatch, tmp_path):
    """Return a function that runs `desk probe` as a person does."""

    def run(url, *words, **environ):
        monkeypatch.setenv("COINBASE_BASE_URL", url)
        monkeypatch.setenv("PUBLIC_REQUESTS_PER_SECOND", "40")
        monkeypatch.setattr(table, "LOOK_SECONDS", 0.05)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(probe.app, ["coinbase", *words], env={"COLUMNS": "250"})

    return run


def test_command_exits_with_0_when_all_agrees_and_stays_below_the_limit(make, desk):
    exchange = make(rate=40.0)
    with running(exchange) as url:
        result = desk(url, "--watch", "0")
    assert result.exit_code == 0 and "differs" not in result.stdout
    assert exchange.counts["status_429"] == 0 and exchange.counts["public_requests"] < 30


def test_command_exits_with_1_and_names_the_switch_when_something_differs(make, desk):
    with running(make(end_inclusive=False)) as url:
        result = desk(url, "--watch", "0")
    assert result.exit_code == 1 and "--behaviour end_inclusive=false" in result.stdout


def test_json_holds_every_finding_and_no_secret(make, desk, key):
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    tokens = []
    exchange = make(key, nonce_once=False)
    accepts = exchange.checker.accepts
    exchange.checker.accepts = lambda *requested, **how: tokens.append(requested[2]) or accepts(*requested, **how)
    with running(exchange) as url:
        result = desk(url, "--watch", "0", "--json", COINBASE_API_KEY=KEY_NAME, COINBASE_API_SECRET=secret)
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and not report["agrees"] and report["signed"]
    assert report["local_exchange"] == "--behaviour nonce_once=false"
    assert {"question", "learned", "assumed", "verdict", "setting", "evidence"} == set(report["findings"][0])
    signed = [token.removeprefix("Bearer ") for token in tokens if len(token) > 100]
    assert len(signed) > 10 and not any(token[-20:] in result.output for token in signed)
    assert not any(line in result.output for line in secret.splitlines() if "-----" not in line)


def test_list_names_the_requests_and_asks_nothing(make, desk):
    exchange = make()
    with running(exchange) as url:
        result = desk(url, "--list")
    assert result.exit_code == 0 and "ticker with limit=1001" in result.stdout and not exchange.counts


@pytest.mark.parametrize(
    ("word", "text"), [("speed=3", "speed"), ("cap=many", "cap"), ("unknown_candles_status=500", "400 or 404")]
)
def test_switch_that_is_none_is_refused_with_those_there_are(word, text):
    with pytest.raises(ConfigError, match=text) as raised:
        parse_behaviour([word])
    assert "end_inclusive" in str(raised.value)
