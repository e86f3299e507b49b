"""A local exchange in this process, its clock stepped: shared by the tests of the exchange and of its clients."""

from datetime import UTC, datetime

import pytest

from desk.exchange import build_markets
from market.exchange.auth import TokenChecker
from market.exchange.behaviour import Behaviour
from market.exchange.state import Exchange, Present, TokenBucket

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def present():
    return PRESENT


@pytest.fixture
def make_exchange():
    def make(present=None, behaviour=None, public_rate=0, private_rate=0, checker=None, **market_options):
        return Exchange(
            build_markets(market_options.pop("kind", "planted"), **market_options),
            present or Present(PRESENT, stepped=True),
            checker or TokenChecker({}),
            TokenBucket(public_rate),
            TokenBucket(private_rate),
            behaviour=behaviour or Behaviour(),
        )

    return make
