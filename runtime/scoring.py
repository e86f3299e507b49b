"""From feature rows to probabilities: every minute of a tick in one call per model.

Shapes: N feature rows, B windows, T minutes per window, F features.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.windows import usable_ends, windows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from runtime.loaded_models import LoadedModel, ProductModels
    from store.feature_sets import FeatureBlock


def input_windows(
    block: FeatureBlock, length: int, first_minute: int, last_minute: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the complete windows that end in ``[first_minute, last_minute]`` (epoch minutes).

    A window of T rows is complete if its rows are T consecutive minutes: a hole, which starts a new segment, breaks it.

    Returns:
        ``end_B`` the minute each window ends with, and ``x_BTF`` float32, C-contiguous.
    """
    minute_n = block.minute_N
    ends = usable_ends(minute_n, length) & (minute_n >= first_minute) & (minute_n <= last_minute)
    rows = np.flatnonzero(ends)
    return minute_n[rows], windows(block.x_NF, rows, length)


Scores = dict[str, dict[int, dict[str, float | None]]]
"""Product -> epoch minute -> model kind -> probability."""
BACKTEST_WORKERS = 2
SCORE_BATCH = 4
"""Windows per call: their activations stay in the cache and in a few MB; 60 at once take 200 MB more and are no faster."""


def _score(model: LoadedModel, x_BTF: NDArray[np.float32], product: str) -> NDArray[np.float64]:  # noqa: N803  # shape suffix
    parts = [model.scorer.score(x_BTF[at : at + SCORE_BATCH], product) for at in range(0, len(x_BTF), SCORE_BATCH)]
    return np.concatenate([np.empty(0), *parts])


def score_minutes(
    block: FeatureBlock, loaded: ProductModels, first_minute: int, last_minute: int
) -> dict[int, dict[str, float | None]]:
    """Score one product's minutes with every loaded model.

    Returns:
        Epoch minute -> model kind -> probability; a kind is None for a minute whose window is not complete.
    """
    scores: dict[str, Mapping[int, float]] = {}
    for kind, model in loaded.models.items():
        end_b, x_btf = input_windows(block, model.window_minutes, first_minute, last_minute)
        p_b = _score(model, x_btf, loaded.product)
        scores[kind] = dict(zip(end_b.tolist(), p_b.tolist(), strict=True))
    return {
        minute: {kind: known.get(minute) for kind, known in scores.items()}
        for minute in range(first_minute, last_minute + 1)
    }


def score_products(
    blocks: Mapping[str, FeatureBlock],
    scorers: Mapping[str, ProductModels],
    first_minute: int,
    last_minute: int,
    workers: int = 1,
) -> Scores:
    """Score several products; with ``workers`` above 1 on as many threads, for a backtest that has the cores and the memory."""

    def score(product: str) -> dict[int, dict[str, float | None]]:
        return score_minutes(blocks[product], scorers[product], first_minute, last_minute)

    products = [product for product, loaded in scorers.items() if loaded.models and product in blocks]
    if workers == 1:
        return {product: score(product) for product in products}
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(products, pool.map(score, products), strict=True))
