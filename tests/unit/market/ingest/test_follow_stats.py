"""The figures of a session: nearest-rank delays, counts, the file beside the reports."""

import json

from market.ingest.follow_stats import Tally
from models.gates import is_real
from store.ingest import WriteCount


def test_tally_delays_are_nearest_ranks():
    tally = Tally()
    assert tally.delay(0.5) is None and tally.spoken_delays == "no minute stored live yet"
    for delay in (5.0, 1.0, 4.0, 2.0, 3.0):
        tally.add(WriteCount(stored=2, revised=1), delay)
    tally.add(WriteCount(stored=1), None)
    assert [tally.delay(share) for share in (0.5, 0.95, 1.0)] == [3.0, 5.0, 5.0]
    assert (tally.stored, tally.revised) == (11, 5)
    assert tally.spoken_delays == "close to commit p50 3.00 s, p95 5.00 s, max 5.00 s over 5 minutes"


def test_tally_file_holds_the_figures_and_is_replaced_whole(tmp_path):
    file, tally = tmp_path / "reports" / "follow.json", Tally(minutes=3)
    tally.write(file)
    assert json.loads(file.read_text())["delay_seconds"] == {"p50": None, "p95": None, "max": None, "count": 0}
    tally.add(WriteCount(stored=1), 0.5)
    tally.write(file)
    told = json.loads(file.read_text())
    assert (told["minutes"], told["stored"], told["delay_seconds"]["p95"]) == (3, 1, 0.5)
    assert [path.name for path in file.parent.iterdir()] == ["follow.json"]


def test_simulated_minutes_built_from_trades_are_no_real_market():
    assert not is_real(["local:planted", "local:planted:trades", "local:null:trades"])
    assert is_real(["coinbase:trades"])
