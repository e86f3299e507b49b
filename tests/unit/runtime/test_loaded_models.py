"""A promoted model that is not what was judged: refused by name, the last good one goes on, people are told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from onnx import TensorProto, helper

from core.clock import ManualClock
from core.errors import ModelError
from models.registry import Registry
from models.registry.chain_head import head_file
from models.registry.events import NewEvent, appended, as_file
from runtime.loaded_models import load_models
from runtime.loop import run_loop
from runtime.session import LoopOptions
from store.feature_sets import feature_set
from tests.judged_models import SLOT, judged_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    from core.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
PRODUCT, MINUTES = "BTC-USD", 6


def graph(path: Path, name: str, inputs: int, opset: int = 18) -> None:
    """Says 0.5 + 0 of every window; only that it runs matters."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nought"]),
        helper.make_node("Sigmoid", ["nought"], ["probability"]),
    ]
    fixed = [
        helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
    ]
    made = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", MINUTES, inputs])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"])],
        fixed,
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)


def judged(settings: Settings, model_id: str, **changes: Any) -> Path:
    """Leave a judged candidate, its passport made wrong by ``changes`` before it was sealed and recorded."""
    chosen = feature_set(settings.feature_set)
    folder = settings.paths.checkpoints / model_id.rpartition("-")[0]
    folder.mkdir(parents=True)
    graph(folder / "model.onnx", model_id, changes.pop("graph_inputs", len(chosen.columns)))
    content = {
        "inputs": list(chosen.columns),
        "feature_set": chosen.name,
        "feature_hash": chosen.sha256,
        "window_minutes": MINUTES,
        "market": [PRODUCT],
    }
    return judged_model(settings, model_id, **content | changes)


def promote(settings: Settings, model_id: str, **changes: Any) -> Path:
    Registry(settings.paths.registry).promote(judged(settings, model_id, **changes), why="test")
    return settings.paths.promoted / model_id


def spoiled(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda home: (home / file).write_bytes(change((home / file).read_bytes())) and None


COLUMNS = list(feature_set("flow").columns)
WRONG = {
    "opset": ({"opset": 11}, None, "opset 11"),
    "columns": ({"inputs": [*COLUMNS[:-1], "another"]}, None, "'another' as column"),
    "order": ({"inputs": [COLUMNS[1], COLUMNS[0], *COLUMNS[2:]]}, None, f"reads '{COLUMNS[1]}' as column 1"),
    "count": ({"inputs": COLUMNS[:-1], "graph_inputs": len(COLUMNS) - 1}, None, f"reads {len(COLUMNS) - 1} columns"),
    "feature hash": ({"feature_hash": "e" * 64}, None, "with hash eeeeeeeeeeee"),
    "graph hash": ({}, spoiled("model.onnx", lambda whole: whole[:-1] + b"x"), "not the one that was judged"),
    "seal": (
        {},
        spoiled("passport.json", lambda whole: whole.replace(b'"opset": 18', b'"opset": 17')),
        "its seal says",
    ),
    "record": (
        {},
        spoiled("passport.json", lambda whole: whole.replace(b"[", b"[ ")),
        "not the one the registry recorded",
    ),
    "missing": ({}, lambda home: (home / "model.onnx").unlink(), "is missing"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_model_is_refused_at_the_start_with_the_repair(settings: Settings, what: str) -> None:
    changes, spoil, told = WRONG[what]
    home = promote(settings, "lstm-BTC-bad-2", **changes)
    if spoil is not None:
        spoil(home)
    with pytest.raises(ModelError, match=told) as refused:
        load_models(settings, [PRODUCT])
    assert "desk models rollback" in str(refused.value) or "desk evaluate" in str(refused.value)


@pytest.mark.parametrize("what", ["opset", "order", "seal", "graph hash"])
def test_wrong_model_promoted_while_running_leaves_the_last_good_one_and_alerts(
    settings: Settings, desk_play: SimpleNamespace, what: str
) -> None:
    changes, spoil, told = WRONG[what]
    promote(settings, "lstm-BTC-good-1")

    class Promoting(ManualClock):
        def wait_until(self, moment: Any) -> None:
            if moment >= desk_play.minute(3) and not (settings.paths.promoted / "lstm-BTC-bad-2").exists():
                home = promote(settings, "lstm-BTC-bad-2", **changes)
                if spoil is not None:
                    spoil(home)
            super().wait_until(moment)

    notifier = desk_play.FakeNotifier()
    run_loop(
        settings,
        provider=desk_play.FakeProvider(),
        clock=Promoting(desk_play.START),
        models=load_models(settings, [PRODUCT]),
        notifier=notifier,
        options=LoopOptions(iterations=4, reload=lambda: load_models(settings, [PRODUCT]), drain_seconds=0.0),
    )
    decided = desk_play.rows(settings, "select p_lstm from decisions order by open_time")
    events = desk_play.rows(settings, "select kind, severity, detail from risk_events")
    assert decided == [(0.5,)] * 4, "the model that was good goes on deciding"
    assert [(kind, severity) for kind, severity, _ in events] == [("model_refused", 2)]
    assert told in events[0][2]
    assert any(told in message.body for message in notifier.messages)


@pytest.mark.parametrize(
    ("setting", "judged_by", "why"),
    [
        ("seed", "calibrated", "information, not tradeable after costs"),
        ("calibrated", "seed", ""),
        ("seed", None, "its passport names no gate profile; judge it again: make evaluate"),
    ],
)
def test_profile_in_the_passport_decides_what_an_alert_may_call_itself(
    settings: Settings, setting: str, judged_by: str | None, why: str
) -> None:
    terms = {"profile": {"name": judged_by}, "cost_bps": 18.0, "trials": 1}
    promote(settings, "lstm-BTC-good-1", **({"judged": terms} if judged_by else {}))
    chosen = settings.model_copy(update={"gate_profile": setting})
    assert load_models(chosen, [PRODUCT])[PRODUCT].why_not_live("live") == why


SCORED = """
import json, os, sys
found = []
def watch(event, arguments):
    if event == "pickle.find_class":
        found.append(" ".join(map(str, arguments)))
    if event == "import" and arguments[0] in ("torch", "joblib", "dill", "cloudpickle"):
        found.append(f"import {arguments[0]}")
sys.addaudithook(watch)
import numpy as np
import desk.run
from core.settings import load_settings
from runtime.loaded_models import load_models
loaded = load_models(load_settings(), ["BTC-USD"])["BTC-USD"].models["lstm"]
width = len(loaded.scorer.passport.inputs)
p_B = loaded.scorer.score(np.zeros((3, loaded.window_minutes, width), np.float32), "BTC-USD")
served = list(found)
import pickle
pickle.loads(pickle.dumps(np.dtype))  # the watch is awake
print(json.dumps({"found": served, "woke": found, "scored": p_B.tolist(), "modules": sorted(sys.modules)}))
"""


def test_serving_process_unpickles_nothing_and_never_sees_torch(settings: Settings) -> None:
    promote(settings, "lstm-BTC-good-1")
    environ = {**os.environ, "DESK_HOME": str(settings.paths.home)}
    done = subprocess.run(
        [sys.executable, "-c", SCORED], capture_output=True, text=True, check=True, env=environ, cwd=ROOT
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["scored"] == [0.5] * 3
    assert seen["found"] == []
    assert seen["woke"], "the watch saw nothing, so it proves nothing"
    assert not {"torch", "joblib", "cloudpickle", "dill"} & set(seen["modules"])


@pytest.mark.parametrize(("is_head_removed", "why"), [(False, "nobody here wrote"), (True, "no judging accepted")])
def test_refused_model_promoted_past_the_commands_is_not_loaded(
    settings: Settings, is_head_removed: bool, why: str
) -> None:
    """Every link right by the public recipe, the files copied: what a home's owner is not asked about."""
    folder, registry = judged(settings, "lstm-BTC-bad-2", accepted=False), Registry(settings.paths.registry)
    shutil.copytree(folder, registry.promoted / "lstm-BTC-bad-2")
    fresh = appended(registry.events(), [NewEvent("promotion", SLOT, "lstm-BTC-bad-2", "passed every gate")])
    registry.path.write_bytes(as_file([*registry.events(), *fresh]))
    if is_head_removed:
        head_file(registry.path).unlink()
    with pytest.raises(ModelError, match=why):
        load_models(settings, [PRODUCT])
