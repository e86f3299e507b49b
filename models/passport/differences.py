"""Where two JSON values differ, by the path of keys, numbers within a tolerance."""

from __future__ import annotations

import math
from typing import Any

TOLERANCE = 1e-6
"""Another processor may round the last bits of a probability differently."""
_MISSING = object()


def differences(path: str, said: Any, found: Any, tolerance: float = TOLERANCE) -> list[str]:  # noqa: ANN401  # any JSON value
    """Return a line for every leaf of ``said`` (a passport) that ``found`` (recomputed) contradicts, and for every one missing.

    Numbers may differ by ``tolerance``, times their size where that is above 1. True is not 1.
    """
    if isinstance(said, dict) and isinstance(found, dict):
        keys = [*said, *(key for key in found if key not in said)]
        pairs = ((str(key), said.get(key, _MISSING), found.get(key, _MISSING)) for key in keys)
    elif isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        pairs = ((str(place), one, other) for place, (one, other) in enumerate(zip(said, found, strict=True)))
    else:
        return (
            []
            if _same(said, found, tolerance)
            else [f"{path}: the passport says {_short(said)}, recomputed {_short(found)}"]
        )
    return [line for key, one, other in pairs for line in differences(f"{path}.{key}", one, other, tolerance)]


def leaves(content: Any) -> int:  # noqa: ANN401  # any JSON value
    """Return how many values a JSON value holds."""
    if isinstance(content, dict):
        return sum(map(leaves, content.values()))
    if isinstance(content, list):
        return sum(map(leaves, content))
    return 1


def _same(said: object, found: object, tolerance: float) -> bool:
    if isinstance(said, int) and isinstance(found, int):
        # counts, and yes or no
        return type(said) is type(found) and said == found
    numbers = (int, float)
    if (
        isinstance(said, numbers)
        and isinstance(found, numbers)
        and not isinstance(said, bool)
        and not isinstance(found, bool)
    ):
        return math.isclose(said, found, rel_tol=tolerance, abs_tol=tolerance)
    return type(said) is type(found) and said == found


def _short(value: object) -> str:
    if value is _MISSING:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
