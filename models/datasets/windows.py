"""From rows to input windows, without ever copying more than a batch of them.

Shapes: N rows, W windows, B windows of a batch, T minutes of a window, F inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from models.datasets.dataset import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset


def window_view(x_NF: NDArray[np.float32], minutes: int) -> NDArray[np.float32]:
    """Return every run of ``minutes`` rows as a read-only view (W, T, F) on the same memory."""
    count = max(len(x_NF) - minutes + 1, 0)
    row, column = x_NF.strides
    return as_strided(x_NF, (count, minutes, x_NF.shape[1]), (row, row, column), writeable=False)


def usable_ends(data: Dataset, minutes: int) -> NDArray[np.bool_]:
    """Return for each row whether a whole window ends there: one coin, no minute missing."""
    usable_N = np.zeros(len(data.minute_N), dtype=bool)
    if len(usable_N) < minutes:
        return usable_N
    last, first = slice(minutes - 1, None), slice(None, len(usable_N) - minutes + 1)
    same_coin = data.coin_N[last] == data.coin_N[first]
    usable_N[last] = same_coin & (data.minute_N[last] - data.minute_N[first] == minutes - 1)
    return usable_N


def part_ends(
    data: Dataset, part: str, minutes: int, *, stride: int = 1, offset: int = 0, product: str | None = None
) -> NDArray[np.int64]:
    """Return the rows of ``part`` that carry a label and end a whole window.

    With a stride only minutes that leave the remainder ``offset`` are taken, the same ones for every coin.
    """
    wanted_N = (data.part_N == PARTS.index(part)) & (data.direction_N >= 0) & usable_ends(data, minutes)
    if product is not None:
        wanted_N &= data.coin_N == data.coins.index(product)
    if stride > 1:
        wanted_N &= data.minute_N % stride == offset % stride
    return np.flatnonzero(wanted_N)


def gather(view_WTF: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float32]:
    """Copy the windows that end at the rows ``ends`` into one contiguous batch (B, T, F)."""
    minutes = view_WTF.shape[1]
    return np.ascontiguousarray(view_WTF[ends - (minutes - 1)])
