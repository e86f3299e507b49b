"""A small data set in the store's own format, with a relation planted in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from core.dataset_files import DatasetRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLUMNS = tuple(f"input_{position:02d}" for position in range(31))
START = datetime(2025, 1, 1, tzinfo=UTC)
HORIZON = 15


def _coin(product: str, minutes: int, seed: int, strength: float, gap_at: int | None) -> tuple[pl.DataFrame, int]:
    """A slow state seen through noise in the inputs decides the sign of the next 15 minutes."""
    generator = np.random.default_rng(seed)
    state = np.empty(minutes)
    state[0] = generator.normal()
    decay = np.exp(-1 / 60)
    noise = generator.normal(size=minutes) * np.sqrt(1 - decay**2)
    for minute in range(1, minutes):
        state[minute] = decay * state[minute - 1] + noise[minute]
    x = generator.normal(size=(minutes, len(COLUMNS))).astype(np.float32)
    x[:, :6] += state[:, None].astype(np.float32)
    x[:, 10] = x[:, 10] * 50 + 60_000  # one input on the scale of a price
    step = 1e-4 * (strength * state + generator.normal(size=minutes))
    close = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(step[:-1])]))
    earlier = np.concatenate([np.full(HORIZON, close[0]), close[:-HORIZON]])
    x[:, 6] = close / earlier - 1  # the move so far, by which a look into the future would show
    later = np.concatenate([close[HORIZON:], np.full(HORIZON, np.nan)])
    frame = pl.DataFrame(
        {
            "product": [product] * minutes,
            "open_time": [START + timedelta(minutes=m) for m in range(minutes)],
            "minute": np.arange(minutes) + int(START.timestamp()) // 60,
            "close": close,
            "is_filled": np.zeros(minutes, dtype=bool),
            **{name: x[:, position] for position, name in enumerate(COLUMNS)},
            "return_15m": later / close - 1,
        },
        schema_overrides={"open_time": pl.Datetime("us", "UTC"), "minute": pl.Int64},
    ).with_columns(pl.col("return_15m").fill_nan(None))
    frame = frame.with_columns(direction_15m=(pl.col("return_15m") > 0).cast(pl.Int8))
    if gap_at is not None:
        frame = frame.filter(pl.col("minute") != frame["minute"][gap_at])
    return frame, minutes


def write_dataset(
    folder: Path,
    *,
    products: tuple[str, ...] = ("BTC-USD",),
    minutes: int = 4000,
    strength: float = 1.0,
    source: str = "local:planted",
    gap_at: int | None = None,
    seed: int = 3,
    spoil: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
) -> DatasetRef:
    """Write a Parquet file and its manifest as the store does; return the reference."""
    frame = pl.concat(
        _coin(product, minutes, seed + position, strength, gap_at)[0]
        for position, product in enumerate(sorted(products))
    )
    first = int(START.timestamp()) // 60
    borders = {
        name: first + int(minutes * share)
        for name, share in (("early_stop", 0.70), ("calibration", 0.775), ("test", 0.85))
    }
    edges = [first, borders["early_stop"], borders["calibration"], borders["test"], first + minutes]
    part = pl.lit(None, pl.String)
    for name, low, high in zip(("train", "early_stop", "calibration", "test"), edges[:-1], edges[1:], strict=True):
        # a row whose label looks past the border belongs to no part
        inside = (pl.col("minute") >= low) & (pl.col("minute") < high - HORIZON)
        part = pl.when(inside & pl.col("direction_15m").is_not_null()).then(pl.lit(name)).otherwise(part)
    order = ["product", "open_time", "minute", "close", "is_filled", *COLUMNS, "direction_15m", "return_15m", "part"]
    frame = spoil(frame.with_columns(part=part).select(order).sort("product", "minute"))
    fresh = folder / "fresh.parquet"
    frame.write_parquet(fresh, compression="zstd")
    digest = sha256(fresh.read_bytes()).hexdigest()
    path = fresh.rename(folder / f"{digest[:16]}.parquet")
    moment = {name: (START + timedelta(minutes=border - first)).isoformat() for name, border in borders.items()}
    manifest = {
        "digest": digest,
        "feature_set": {"name": "seed39", "version": 1, "sha256": "f" * 64, "columns": list(COLUMNS)},
        "products": sorted(products),
        "span": {"start": START.isoformat(), "end": (START + timedelta(minutes=minutes)).isoformat()},
        "known_at_cut": "2025-12-31T00:00:00+00:00",
        "horizon_minutes": HORIZON,
        "purge_minutes": HORIZON,
        "embargo_minutes": 512,
        "borders": moment,
        "rows": {},
        "sources": [source],
    }
    path.with_suffix(".json").write_text(json.dumps(manifest), encoding="utf-8")
    return DatasetRef(digest, str(path), str(path.with_suffix(".json")))
