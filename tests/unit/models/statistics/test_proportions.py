import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.statistics.proportions import Share, clustered_share, rows_needed, wilson


def test_wilson_of_81_in_263_is_the_published_interval():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81/263 gives 0.2553 to 0.3662
    low, high = wilson(81, 263)
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


def test_wilson_of_nothing_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_clustered_share_of_independent_rows_is_about_binomial():
    share = clustered_share((row, row % 2, 1) for row in range(400))
    assert share.value == 0.5
    assert share.effective == pytest.approx(400, rel=0.01)


def test_clustered_share_of_copies_counts_each_cluster_once():
    share = clustered_share((row // 10, (row // 10) % 2, 1) for row in range(400))
    assert share.count == 400
    assert share.effective == pytest.approx(40, rel=0.05)


def test_clustered_share_without_rows_is_none():
    assert clustered_share([]) is None


def test_clustered_share_of_all_hits_is_not_certain():
    share = clustered_share((row, 1, 1) for row in range(20))
    assert (share.value, share.high) == (1.0, 1.0)
    assert 0.8 < share.low < 0.9


def test_rows_needed_for_five_points_at_eighty_percent_is_246():
    assert rows_needed(Share(0.8, 0.7, 0.9, 100, 100.0), 0.05) == 246


def test_rows_needed_grows_with_the_clustering():
    assert rows_needed(Share(0.8, 0.7, 0.9, 100, 50.0), 0.05) == 492


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=80))
def test_clustered_share_interval_holds_its_value(rows):
    share = clustered_share((cluster, float(hit), 1) for cluster, hit in rows)
    assert 0 <= share.low <= share.value + 1e-12
    assert share.value - 1e-12 <= share.high <= 1
    assert 0 < share.effective <= share.count
