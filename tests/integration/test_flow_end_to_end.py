"""`flow` from candles to decisions: data set, training and judging in processes of their own, then a session of the runtime."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Page, Span
from core.clock import ManualClock
from core.errors import ModelMismatchError
from core.settings import load_settings
from market.exchange.simulated_market import simulated_market
from models.gates import gate_profile
from models.judging.promotion import judge_in_process
from models.registry import Registry
from models.training.candidate import TrainSpec
from models.training.run_training import train_in_process
from runtime.loaded_models import load_models
from runtime.loop import run_loop
from runtime.session import LoopOptions
from store.database import connect
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from core.settings import Settings
    from runtime.loaded_models import WindowScorer
    from store.signal_rows import OutboxRow

pytestmark = pytest.mark.slow
COINS = ("BTC-USD", "ETH-USD")
PRESENT = datetime(2024, 3, 4, 12, tzinfo=UTC)
SPAN = Span(PRESENT - timedelta(days=20), PRESENT)


class Planted:
    """The planted market as a provider."""

    name = "planted"

    async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        for window in windows:
            yield Page(
                product,
                window,
                tuple(simulated_market("planted", product).candles(window)),
                window.end,
                "local:planted",
            )

    async def check(self) -> str:
        return "planted market ready"

    async def server_time(self) -> datetime:
        return PRESENT

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        return None

    async def aclose(self) -> None:
        return None


class Silent:
    """Owes nobody anything."""

    def offer(self, messages: Sequence[OutboxRow]) -> None:
        del messages

    def close(self, timeout_seconds: float = 10.0) -> int:
        del timeout_seconds
        return 0


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A desk on ``flow`` with one judged candidate for BTC-USD, trained in a market of two."""
    settings = load_settings(desk_home=tmp_path_factory.mktemp("desk"), feature_set="flow", mode="shadow")
    settings.paths.make()
    store = FeatureStore(settings.paths.market_db)
    store.migrate()
    for coin in COINS:
        candles = tuple(simulated_market("planted", coin).candles(SPAN))
        store.record_pages([Page(coin, SPAN, candles, PRESENT, "local:planted")])
    dataset = store.export_dataset(COINS, SPAN, settings.paths.datasets, feature_set=settings.feature_set)
    spec = TrainSpec("lstm", ("BTC-USD",), epochs=1, stride=20, batch_size=64, learning_rate=3e-3, dropout=0.1)
    candidate = train_in_process(spec, dataset, settings.paths.checkpoints)
    judged = judge_in_process(candidate, dataset, gate_profile("seed"), cost_bps=15.0, trials=1)
    Registry(settings.paths.registry).record_judgement(judged)
    return settings


def test_session_of_a_model_trained_on_flow_scores_every_minute(desk: Settings) -> None:
    models = load_models(desk, COINS)
    (model,) = models["BTC-USD"].models.values()
    assert (model.profile, model.is_shadow) == ("seed", True)
    result = run_loop(
        desk,
        provider=Planted(),
        clock=ManualClock(PRESENT + timedelta(seconds=5)),
        models=models,
        notifier=Silent(),
        options=LoopOptions(iterations=4, drain_seconds=0.0),
    )
    assert (result.minutes, result.reason) == (4, "iterations")
    query = "select open_time, probability from decisions where product = 'BTC-USD' order by open_time"
    connection = connect(desk.paths.signals_copy, read_only=True)
    try:
        decided = connection.execute(query).fetchall()
    finally:
        connection.close()
    assert [open_time for open_time, _ in decided] == [PRESENT + number * MINUTE for number in range(4)]
    # the ensemble of one divides by its weight, which may cost the last bit
    assert [probability for _, probability in decided] == pytest.approx(replayed(desk, model.scorer), rel=1e-15)


def replayed(desk: Settings, scorer: WindowScorer) -> list[float]:
    """Score the four minutes again, from the stored history of the file."""
    store, later = FeatureStore(desk.paths.market_db), Span(PRESENT, PRESENT + 4 * MINUTE)
    for coin in COINS:
        candles = tuple(simulated_market("planted", coin).candles(later))
        store.record_pages([Page(coin, later, candles, later.end, "local:planted")])
    block = store.feature_blocks(["BTC-USD"], PRESENT - 59 * MINUTE, later.end, "flow")["BTC-USD"]
    assert len(block) == 63
    return [float(scorer.score(block.x_NF[None, row : row + 60], "BTC-USD")[0]) for row in range(4)]


def test_model_trained_on_flow_is_refused_on_another_set_and_in_another_market(desk: Settings, tmp_path: Path) -> None:
    other = load_settings(desk_home=desk.desk_home, feature_set="seed39", mode="shadow")
    with pytest.raises(ModelMismatchError, match="set FEATURE_SET=flow, or train on seed39"):
        load_models(other, COINS)
    with pytest.raises(ModelMismatchError, match="in a market of BTC-USD, ETH-USD, the runtime watches BTC-USD;"):
        load_models(desk, ["BTC-USD"])
