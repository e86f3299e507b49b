"""The live feed of follower and runtime: what was answered is kept, what failed is named and holds up nobody."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.errors import CredentialsError, UnknownProductError
from market.ingest.live_feed import fetch_live
from market.providers import FetchFailed, FetchFailedError

T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
SPAN = Span(T0, T0 + MINUTE)


class Scripted:
    """A provider that answers one page, then fails as the product's name says."""

    def __init__(self, **errors):
        self.errors = errors

    async def pages(self, product, windows):
        candle = Candle(product, windows[0].start, *[Decimal(1)] * 5)
        yield Page(product, windows[0], (candle,), windows[0].end, "coinbase")
        error = self.errors.get(product.partition("-")[0])
        if error == "slow":
            await asyncio.sleep(60)
        if error is not None:
            raise error


def fetch(timeout=None, **errors):
    spans = dict.fromkeys(("BTC-USD", "ETH-USD"), SPAN)
    return asyncio.run(fetch_live(Scripted(**errors), spans, timeout))


def test_feed_asks_all_products():
    answers = fetch()
    assert {name: [page.product for page in answer.pages] for name, answer in answers.items()} == {
        "BTC-USD": ["BTC-USD"],
        "ETH-USD": ["ETH-USD"],
    }
    assert not any(answer.failure for answer in answers.values())


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (UnknownProductError("ETH-USD is not offered"), "ETH-USD is not offered"),
        (CredentialsError("the key was refused"), "the key was refused"),
        (FetchFailedError("ETH-USD", [FetchFailed(SPAN, "HTTP 502")], gave_up=False), "HTTP 502"),
    ],
)
def test_feed_keeps_what_was_answered_and_names_the_failure(error, failure):
    answers = fetch(ETH=error)
    assert (answers["ETH-USD"].failure, answers["ETH-USD"].error) == (failure, error)
    assert len(answers["ETH-USD"].pages) == len(answers["BTC-USD"].pages) == 1 and not answers["BTC-USD"].failure


def test_feed_gives_up_a_product_that_takes_too_long():
    answers = fetch(0.05, ETH="slow")
    assert answers["ETH-USD"].failure == "no answer within 0.05 s" and not answers["BTC-USD"].failure
