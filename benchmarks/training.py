"""How soon is our training as good as the seed's recipe ever gets, on the same minutes, cores and validation windows?

Run: ``python -m benchmarks.training``. The seed's recipe (`benchmarks.seed_recipe`) trains first, on all cores; ours after it with
the preset of that market, on one thread as in production; each in a process of its own. Both look at the same windows of the
early-stop part. The table tells when each FIRST reached the recipe's best validation log loss, in wall and in CPU seconds from the
loaded data set on; looks that the recipe would not take are not counted, all of ours are. On recorded minutes the recipe
over-fits within its first epoch, on a short span so far that its best loss is worse than a coin's and any start reaches it: so the
third and fourth line look at the recipe as often as at ours, and the loss on the calibration part, which neither saw, stands
beside. On planted minutes there is something to learn. The recipe ends an epoch after its best; ``--full`` takes two years and
all 15 epochs (hours).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks import seed_recipe
from benchmarks.parity import candle_table, load
from benchmarks.seed_recipe import Mark
from benchmarks.surroundings import console, folder, show
from core.candles import Span
from core.dataset_files import DatasetRef
from core.settings import Settings
from models.datasets.dataset import load_dataset
from models.datasets.windows import part_ends, windows
from models.networks.build import build_network, window_minutes
from models.training.candidate import spec_as_json, spec_from_json, train_spec
from models.training.fit import early_stop_ends, fit, forward
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.datasets.dataset import Dataset
    from models.training.run_training import TrainProgress

PRODUCTS = ("BTC-USD", "ETH-USD")
DAYS = {"planted": 60, "recorded": 270}
QUICK_DAYS, FULL_DAYS, PATIENCE = 20, 730, 1
OFTEN = "seed recipe, looked at as often as ours"
_UNSEEN_STRIDE = 5


def build(data: Path | None, days: int, home: Path) -> DatasetRef:
    """Write a data set of the newest ``days`` of recorded minutes, or of planted ones, as a flow does."""
    with FeatureStore.in_memory() as store:
        first, last = [], []
        for product in PRODUCTS:
            table = candle_table(product, data, days * 1440)
            load(store, product, table)
            first.append(table["open_time"][0].as_py())
            last.append(table["open_time"][-1].as_py() + timedelta(minutes=1))
        features = str(Settings.model_fields["feature_set"].default)
        return store.export_dataset(PRODUCTS, Span(min(first), max(last)), home, feature_set=features)


def child(job: dict[str, Any]) -> dict[str, Any]:
    """Do one side's training in this process; return what it did."""
    data = load_dataset(DatasetRef(**job["dataset"]), [job["product"]])
    if job["side"] == "seed":
        return _seed(data, job)
    return _ours(data, job)


def _seed(data: Dataset, job: dict[str, Any]) -> dict[str, Any]:
    spec = spec_from_json(job["spec"])
    watch = early_stop_ends(data, window_minutes("lstm"), spec)
    run = seed_recipe.train(
        data, watch, epochs=job["epochs"], patience=job["patience"], look_every=spec.check_windows, on_mark=_say
    )
    return {
        "marks": [asdict(mark) for mark in run.marks],
        "unseen": _unseen(data, run.best, 1),
        "unseen_last": _unseen(data, run.last, 1),
        "threads": torch.get_num_threads(),
    }


def _ours(data: Dataset, job: dict[str, Any]) -> dict[str, Any]:
    spec = spec_from_json(job["spec"])
    marks: list[Mark] = []
    began, cpu_began = time.monotonic(), time.process_time()

    def hear(progress: TrainProgress) -> None:
        if progress.early_stop_loss is not None:
            spent, cpu_spent = time.monotonic() - began, time.process_time() - cpu_began
            marks.append(Mark(0, spent, cpu_spent, progress.early_stop_loss, is_epoch=True))
            _say(marks[-1])

    fitted = fit(spec, data, on_progress=hear)
    checks = [asdict(mark) | {"windows": row.windows} for mark, row in zip(marks, fitted.history, strict=True)]
    return {"marks": checks, "unseen": _unseen(data, fitted.weights, fitted.members), "threads": 1}


def _say(mark: Mark) -> None:
    print(json.dumps({"mark": asdict(mark)}), flush=True)


def _unseen(data: Dataset, weights: dict[str, torch.Tensor], members: int) -> float:
    """Return the log loss on the calibration part; the rows are scaled already."""
    network = build_network("lstm", len(data.columns), 1, 0.0, members)
    network.load_state_dict(weights)
    network.eval()
    minutes = window_minutes("lstm")
    ends = part_ends(data, "calibration", minutes, stride=_UNSEEN_STRIDE)
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(ends), 256):
            rows = ends[start : start + 256]
            logit_B, _ = forward(
                network, torch.from_numpy(windows(data.x_NF, rows, minutes)), torch.from_numpy(data.coin_N[rows])
            )
            y_B = torch.from_numpy(data.direction_N[rows].astype(np.float32))
            total += torch.nn.functional.binary_cross_entropy_with_logits(logit_B, y_B, reduction="sum").item()
    return total / len(ends)


def in_child(job: dict[str, Any]) -> dict[str, Any]:
    """Run one side in a process of its own, telling its marks; return what it did and its peak memory."""
    environ = dict(os.environ) | ({"OMP_NUM_THREADS": str(job["threads"])} if job.get("threads") else {})
    if job["side"] != "seed":  # what `core.child_process` gives every training
        environ |= {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "4294967296"}
        environ |= {"MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_TOP_PAD_": "67108864"}
    command = [sys.executable, "-m", "benchmarks.training", "--child"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError(command)
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    told: dict[str, Any] = {}
    for text in process.stdout:
        line = json.loads(text)
        if "mark" in line:
            mark = Mark(**line["mark"])
            console.print(
                f"{job['side']}: {f'{mark.windows} windows, ' if mark.windows else ''}log loss {mark.loss:.5f} after {mark.wall_seconds:.1f} s",
                style="dim",
            )
        elif "row" in line:
            console.print(
                " · ".join(f"{cell:.0f}" if isinstance(cell, float) else str(cell) for cell in line["row"]), style="dim"
            )
        else:
            told = line
    if process.wait() != 0:
        msg = f"the side {job['side']} ended with status {process.returncode}; its last words are above"
        raise SystemExit(msg)
    return told


def reached(marks: Sequence[dict[str, Any]], bound: float) -> dict[str, Any] | None:
    """Return the first mark at least as good as ``bound``."""
    return next((mark for mark in marks if mark["loss"] <= bound), None)


def compare(seed: dict[str, Any], ours: dict[str, Any]) -> list[list[object]]:
    """Return the rows of the table."""
    epochs = [mark for mark in seed["marks"] if mark["is_epoch"]]
    bound = min(mark["loss"] for mark in epochs)
    finest = min(mark["loss"] for mark in seed["marks"])
    rows: list[list[object]] = []
    base = reached(epochs, bound)
    sides = (
        ("seed recipe", epochs, bound, seed, f"{seed['unseen']:.5f}, last epoch {seed['unseen_last']:.5f}"),
        ("ours", ours["marks"], bound, ours, f"{ours['unseen']:.5f}"),
        (OFTEN, seed["marks"], finest, seed, ""),
        ("ours, to that", ours["marks"], finest, ours, ""),
    )
    for name, marks, wanted, side, unseen in sides:
        mark, last = reached(marks, wanted), marks[-1]
        best = min(one["loss"] for one in marks)
        found = mark or {"windows": "", "wall_seconds": float("nan"), "cpu_seconds": float("nan")}
        if name == OFTEN:
            base = mark
        ratios = (
            ["never", "never"]
            if mark is None or base is None
            else [f"{base[kind] / mark[kind]:.1f}" for kind in ("wall_seconds", "cpu_seconds")]
        )
        rows.append(
            [
                name,
                f"{wanted:.5f}",
                found["windows"],
                f"{found['wall_seconds']:.1f}",
                f"{found['cpu_seconds']:.1f}",
                *ratios,
                f"{best:.5f}",
                unseen,
                round(last["windows"] / last["wall_seconds"]),
                side["threads"],
                round(side["peak_mb"]),
            ]
        )
    return rows


COLUMNS = (
    "training",
    "bound",
    "windows to it",
    "wall s",
    "CPU s",
    "sooner, wall",
    "sooner, CPU",
    "best validation loss",
    "unseen loss",
    "windows/s",
    "threads",
    "peak MB",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = _parser()
    chosen = parser.parse_args([] if arguments is None else arguments)
    if chosen.child:
        told = child(json.load(sys.stdin))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps(told | {"peak_mb": peak}))
        return
    console.width = max(console.width, 220)
    markets = ("planted", "recorded") if chosen.market == "both" else (chosen.market,)
    for market in markets:
        if market == "recorded" and not chosen.data.exists():
            console.print(f"recorded minutes: there are none at {chosen.data}; name their folder: --data")
            continue
        _market(chosen, market)


def _market(chosen: argparse.Namespace, market: str) -> None:
    """Measure on one market's minutes."""
    days = chosen.days or (FULL_DAYS if chosen.full else QUICK_DAYS if chosen.quick else DAYS[market])
    with folder() as home:
        console.print(f"building the data set: {market} minutes, the newest {days} days at most")
        reference = build(chosen.data if market == "recorded" else None, days, home)
        job = {"dataset": asdict(reference), "product": chosen.product}
        seed, ours = _both(chosen, job, planted=market == "planted")
    ran = sum(mark["is_epoch"] for mark in seed["marks"])
    ended = (
        "all of them" if ran == seed_recipe.EPOCHS else "a look only" if chosen.quick else f"{PATIENCE} after its best"
    )
    title = f"time to the seed recipe's best loss, {chosen.product}, {market} minutes, {days} days at most"
    note = "saying one half every minute has a loss of 0.69315"
    show(f"{title}; {ran} of the recipe's {seed_recipe.EPOCHS} epochs, {ended}; {note}", COLUMNS, compare(seed, ours))


def _both(chosen: argparse.Namespace, job: dict[str, Any], *, planted: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train both ways, one after the other."""
    setting = {} if planted else {"stride": int(Settings.model_fields["train_stride"].default)}
    spec = train_spec("lstm", [chosen.product], preset="demo" if planted else "market", **setting)
    job = job | {"spec": spec_as_json(spec)}
    recipe = {
        "epochs": 3 if chosen.quick else seed_recipe.EPOCHS,
        "patience": 0 if chosen.full or chosen.quick else PATIENCE,
        "threads": chosen.threads,
    }
    return in_child(job | {"side": "seed"} | recipe), in_child(job | {"side": "ours"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    default = Path(os.environ.get("CANDLEDESK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    add = parser.add_argument
    add("--data", type=Path, default=default, help="folder of coinbase_<PRODUCT>_1m.parquet files")
    add("--market", choices=("both", "planted", "recorded"), default="both")
    add(
        "--days",
        type=int,
        default=0,
        help=f"the newest days of it; {DAYS['planted']} planted, {DAYS['recorded']} recorded",
    )
    add("--product", choices=PRODUCTS, default=PRODUCTS[0])
    add("--full", action="store_true", help="two years (or all recorded minutes) and all 15 epochs: hours")
    add("--quick", action="store_true", help=f"a look: {QUICK_DAYS} days, three epochs of the recipe")
    add(
        "--threads", type=int, default=0, help="of the recipe, all cores by default; 1 to compare CPU seconds when busy"
    )
    add("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
