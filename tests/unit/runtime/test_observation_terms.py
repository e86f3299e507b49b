"""An observation goes on while nothing that decides has changed, and a new one begins when something has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.candles import floor_minute
from store.database import write_transaction
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from types import SimpleNamespace

    from core.settings import Settings


def begun(settings: Settings) -> list[str]:
    return [row.why for row in SignalStore(settings.paths.signals_db).observations()]


def test_observation_goes_on_after_a_restart(settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 2)
    desk_play.play(settings, 2, start=desk_play.minute(2))
    (row,) = SignalStore(settings.paths.signals_db).observations()
    assert (row.began_at, row.mode, row.why) == (floor_minute(desk_play.START), "dryrun", "the first start")
    assert row.models.startswith("BTC-USD/lstm=lstm-BTC-USD,BTC-USD/transformer=")


def test_observation_begins_anew_with_other_rules_models_or_mode(
    settings: Settings, desk_play: SimpleNamespace
) -> None:
    """Evidence had no identity: 20 minutes of shadow and one of dryrun were 21 clean minutes of dryrun."""
    desk_play.play(settings, 1, mode="shadow")
    desk_play.play(settings, 1, start=desk_play.minute(1))
    stricter = settings.model_copy(update={"emit_threshold": 0.8})
    desk_play.play(stricter, 1, start=desk_play.minute(2))
    others = desk_play.models(["BTC-USD", "ETH-USD"], kinds={"lstm": 6})
    desk_play.play(stricter, 1, start=desk_play.minute(3), loaded=others)
    assert begun(settings) == [
        "the first start",
        "changed: mode shadow -> dryrun",
        "changed: EMIT_THRESHOLD 0.75 -> 0.8",
        "changed: other models",
    ]


def test_records_of_older_code_become_one_observation(settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 2)
    with write_transaction(settings.paths.signals_db) as connection:
        connection.execute("delete from observations")
    desk_play.play(settings, 1, start=desk_play.minute(2))
    first, second = SignalStore(settings.paths.signals_db).observations()
    assert first.began_at == floor_minute(desk_play.START)
    assert "before observations were kept apart" in first.why
    assert second.began_at == floor_minute(desk_play.minute(2))
