"""The stability index of known shares and samples, and that live and recorded values are counted alike."""

from __future__ import annotations

import numpy as np
import pytest

from models.statistics.stability import bin_counts, decile_edges, sample_shift, stability_index

SAMPLE = np.random.default_rng(0).normal(size=20_000).astype(np.float32)


def test_index_of_known_shares():
    assert stability_index((0.5, 0.5), (50, 50)) == pytest.approx(0.0)
    assert stability_index((0.5, 0.5), (75, 25)) == pytest.approx(0.25 * np.log(3.0))
    assert np.isfinite(stability_index((0.5, 0.5), (10, 0)))


def test_shift_is_zero_for_equal_and_large_for_shifted_samples():
    assert sample_shift(SAMPLE, SAMPLE) == 0.0
    assert sample_shift(SAMPLE, SAMPLE[::2]) < 0.01
    # two normal samples a standard deviation apart: KL both ways is 0.5 each, less what ten bins lose
    assert sample_shift(SAMPLE, SAMPLE + 1) == pytest.approx(1.0, abs=0.2)


def test_value_on_an_edge_counts_above_it_so_that_a_flag_has_two_bins():
    flag = np.array([0, 1] * 10, np.float32)
    assert [count for count in bin_counts(flag, decile_edges(flag)).tolist() if count] == [10, 10]
