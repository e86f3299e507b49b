"""The figures of a session: nearest-rank delays, counts, the file beside the reports."""

import json

from market.ingest.follow_stats import FollowStats
from store.ingest import WriteCount


def test_stats_delays_are_nearest_ranks():
    stats = FollowStats()
    assert stats.delay(0.5) is None and stats.delay_summary == "no minute stored live yet"
    for delay in (5.0, 1.0, 4.0, 2.0, 3.0):
        stats.add(WriteCount(stored=2, revised=1), delay)
    stats.add(WriteCount(stored=1), None)
    assert [stats.delay(share) for share in (0.5, 0.95, 1.0)] == [3.0, 5.0, 5.0]
    assert (stats.stored, stats.revised) == (11, 5)
    assert stats.delay_summary == "close to commit p50 3.00 s, p95 5.00 s, max 5.00 s over 5 minutes"


def test_stats_file_holds_the_figures_and_is_replaced_whole(tmp_path):
    file, stats = tmp_path / "reports" / "follow.json", FollowStats(minutes=3)
    stats.write(file)
    assert json.loads(file.read_text())["delay_seconds"] == {"p50": None, "p95": None, "max": None, "count": 0}
    stats.add(WriteCount(stored=1), 0.5)
    stats.write(file)
    written = json.loads(file.read_text())
    assert (written["minutes"], written["stored"], written["delay_seconds"]["p95"]) == (3, 1, 0.5)
    assert [path.name for path in file.parent.iterdir()] == ["follow.json"]
