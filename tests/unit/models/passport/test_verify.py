"""Whatever byte of graph, data set or passport is changed, `verify` says so, and names what can be recomputed."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.dataset_files import DatasetRef
from core.errors import DeskError, ModelMismatchError
from core.files import as_json_bytes, write_json
from core.integrity import seal_of, sealed, sha256_of
from models.datasets.dataset import load_dataset
from models.datasets.scaler import fit_scaler
from models.datasets.windows import part_ends, windows
from models.gates import gate_profile
from models.gates.judgement import write_curves
from models.judging import appraise
from models.passport import verify_passport as verify
from models.serving.calibration import fit_calibration
from models.serving.passport import VERSION, JudgingTerms, Parity, Passport, TorchProbability, TrainingRun
from models.serving.scorer import Scorer
from models.training.candidate import LIGHTGBM_RECIPE, RECIPE, TrainedCandidate, TrainSpec, name_of, spec_as_json
from tests.small_dataset import write_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCT = "BTC-USD"
MINUTES = 20
OPSET = 18


def write_graph(path: Path, slope: float) -> None:
    """The mean of six inputs over the window, as a logit and as a probability: a model that needs no torch."""
    weight_F = np.zeros((31, 1), np.float32)
    weight_F[:6] = slope / 6
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axes"], ["logit"], keepdims=0),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", MINUTES, 31])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in ("probability", "logit")],
        [
            numpy_helper.from_array(weight_F, "weight"),
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8), path)


def judged(folder: Path, dataset: DatasetRef, slope: float, like: Path | None = None) -> Path:
    """Leave what the judge leaves, by the judge's own functions, for a graph without weights.

    ``like`` names a model whose figures are taken over, where nobody will look at them.
    """
    folder.mkdir()
    write_graph(folder / "model.onnx", slope)
    data, sha256 = load_dataset(dataset, [PRODUCT]), sha256_of(folder / "model.onnx")
    spec = spec_as_json(TrainSpec("lstm", (PRODUCT,), epochs=1, seed=int(slope)))
    manifest = json.loads(Path(dataset.manifest_path).read_text())
    features = data.manifest.feature_set
    name = name_of(spec, data.digest, features.sha256, RECIPE)
    passport = Passport(
        version=VERSION,
        model_id=f"{name}-{sha256[:8]}",
        candidate_id=name,
        architecture="lstm",
        products=(PRODUCT,),
        market=data.manifest.products,
        inputs=data.columns,
        feature_set=features.name,
        feature_set_version=features.version,
        feature_hash=features.sha256,
        window_minutes=MINUTES,
        horizon_minutes=data.horizon_minutes,
        opset=OPSET,
        sha256=sha256,
        dataset_digest=data.digest,
        dataset_manifest_sha256=seal_of(manifest),
        borders=manifest["borders"],
        span=manifest["span"],
        sources=tuple(data.sources),
        scaler=fit_scaler(data).as_json(),
        spec=spec,
        training=TrainingRun(name=f"lstm-{PRODUCT}", commit="c" * 40, seconds=1.5, windows=100, best_epoch=1),
        judged=JudgingTerms(gate_profile("seed"), 15.0, 3, 1, "2025-03-01T00:00:00+00:00", "c" * 40),
    )
    scorer, ends = Scorer(folder, passport), part_ends(data, "test", MINUTES)
    few = ends[np.linspace(0, len(ends) - 1, 8).astype(int)]
    p_B = scorer.score(windows(data.x_NF, few, MINUTES), PRODUCT)
    sample = tuple(
        TorchProbability(PRODUCT, int(data.minute_N[row]), float(p)) for row, p in zip(few, p_B, strict=True)
    )
    passport = replace(passport, parity=Parity(min(len(ends), 1000), 1e-7, 1e-7, sample))
    if like is not None:
        replace(passport, verdicts=Passport.read(like).verdicts, curves_sha256="0" * 64).write(folder)
        write_json(folder / "curves.json", {})
        return folder
    found = appraise.appraise(data, scorer, passport)[PRODUCT]
    early = part_ends(data, "calibration", MINUTES)
    _, logit_N = appraise.score_logits(data, scorer, PRODUCT, early, MINUTES)
    fitted = fit_calibration(
        logit_N, data.direction_N[early], data.minute_N[early], horizon_minutes=data.horizon_minutes
    )
    curves = write_curves(folder, {PRODUCT: found.curves})
    verdicts = {PRODUCT: replace(found.verdict, calibration=fitted.choice())}
    replace(passport, verdicts=verdicts, curves_sha256=sha256_of(curves)).write(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> DatasetRef:
    return write_dataset(
        tmp_path_factory.mktemp("dataset"), products=("BTC-USD", "ETH-USD"), minutes=14_600, strength=0.5
    )


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory) -> Path:
    return judged(tmp_path_factory.mktemp("models") / "one", dataset, 1.0)


@pytest.fixture(scope="module")
def remembered(dataset) -> Iterator[None]:
    """Do the costly sums once: data set and graph stay as they are, only the passport changes."""
    whole = load_dataset(dataset, [PRODUCT])
    known: dict[str, Any] = {}

    def once(name, function):
        def remember(data, *arguments, **options):
            plain = [
                own if isinstance(own, float | str | int) else repr(own if hasattr(own, "profile") else np.sum(own))
                for own in arguments
            ]
            key = f"{name} {plain} {options}"
            if key not in known:
                known[key] = function(data, *arguments, **options)
            return known[key]

        return remember

    def appraised(data, scorer, passport):
        used = (
            passport.architecture,
            passport.window_minutes,
            passport.scaler,
            passport.judged,
            passport.parity.largest,
        )
        key = repr(used)
        if key not in known:
            known[key] = appraise.appraise(data, scorer, passport)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        for name in ("measure", "_calibrated", "feasibility", "_selection", "coverage_cuts"):
            patch.setattr(appraise, name, once(name, getattr(appraise, name)))
        patch.setattr(verify, "appraise", appraised)
        patch.setattr(verify, "load_dataset", lambda reference, products=None: whole)
        patch.setattr(verify, "fit_scaler", once("scaler", fit_scaler))
        patch.setattr(verify, "fit_calibration", once("calibration", fit_calibration))
        yield


def copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "copy"))


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value of a passport, of long lists the first and the last."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from leaves(value, (*path, key))
    elif isinstance(content, list) and content:
        for place in sorted({0, len(content) - 1}):
            yield from leaves(content[place], (*path, place))
    else:
        yield path


def changed(passport: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """The passport with one value another one of the same kind."""
    spoiled = copy.deepcopy(passport)
    home: Any = spoiled
    for key in path[:-1]:
        home = home[key]
    value = home[path[-1]]
    if isinstance(value, bool):
        home[path[-1]] = not value
    elif isinstance(value, int | float):
        home[path[-1]] = value + 0.01 * (abs(value) + 1) if isinstance(value, float) else value + 1
    elif isinstance(value, str):
        home[path[-1]] = value[:-1] + ("0" if value[-1:] != "0" else "1")
    else:
        home[path[-1]] = 1.0
    return spoiled


def test_true_passport_has_no_difference(model, dataset):
    found = verify.verify(model, dataset, recorded=[sha256_of(model / "passport.json")])
    assert found.is_true, found.differences
    assert found.figures > 300
    assert found.remarks == ("the candidate's weights are not here: parity was checked on the windows stored with it",)


def test_model_of_an_older_versions_trees_is_verified_as_a_graph_and_names_the_repair(model, dataset, tmp_path):
    passport, weights = Passport.read(model), tmp_path / "weights"
    weights.mkdir()
    (weights / "weights.pt").write_bytes(b"matrices of trees that scikit-learn grew")
    TrainedCandidate(
        candidate_id=passport.candidate_id,
        architecture="boosting",
        products=(PRODUCT,),
        spec=TrainSpec("boosting", (PRODUCT,)),
        recipe=LIGHTGBM_RECIPE - 1,
        dataset_digest=passport.dataset_digest,
        feature_set=load_dataset(dataset).manifest.feature_set,
        window_minutes=1,
        scaler=passport.scaler,
        weights_sha256="0" * 64,
    ).write(weights)
    found = verify.verify(model, dataset, weights=weights)
    assert "retrain (make boosting)" in found.remarks[0]
    assert all(line.startswith("training.") for line in found.differences)  # the model here is an LSTM's


# what nobody can recompute from graph and data set: when, by which code, how long; only seal and registry vouch for it
TRUSTED = ("judged.at", "judged.commit", "judged.profile.name", "judged.profile.note", "training.", "parity.largest")


def test_every_value_of_a_passport_changed_is_detected_and_named(model, dataset, remembered, tmp_path):
    passport = json.loads((model / "passport.json").read_text())
    recorded, digest = [sha256_of(model / "passport.json")], str(passport["dataset_digest"])[:16]
    folder = copied(model, tmp_path)
    # of each group of figures that belong together one
    paths = list({path[:4]: path for path in leaves(passport) if path != ("seal",)}.values())
    assert len(paths) > 120
    unnamed, undetected = [], []
    for path in paths:
        name = ".".join(map(str, path))
        spoiled = changed(passport, path)
        # as it stands: the seal is broken
        (folder / "passport.json").write_bytes(as_json_bytes(spoiled))
        assert any("seal" in line for line in verify.bytes_faults(folder, [])), name
        # sealed anew by who changed it: recomputed, and known to the registry
        (folder / "passport.json").write_bytes(as_json_bytes(sealed(spoiled)))
        (fault,) = verify.bytes_faults(folder, recorded)
        assert "the registry recorded" in fault, name
        try:
            lines = verify.verify(folder, dataset).differences
        except DeskError as error:
            lines = (str(error),)
        if not lines:
            undetected.append(name)
        told = name if path[0] == "verdicts" else str(path[0])
        # gates, costs, trials and stride are not named themselves: the figures that follow from them are
        if path[0] != "judged" and not any(told in line.split(": ")[0] or digest in line for line in lines):
            unnamed.append(name)
    assert [name for name in undetected if not name.startswith(TRUSTED)] == []
    assert [name for name in unnamed if not name.startswith(TRUSTED)] == []
    assert len(undetected) < 15


def test_every_key_taken_away_or_put_in_is_detected(model, dataset, remembered, tmp_path):
    passport = json.loads((model / "passport.json").read_text())
    folder = copied(model, tmp_path)
    for key in [key for key in passport if key != "seal"]:
        without = {name: value for name, value in passport.items() if name != key}
        (folder / "passport.json").write_bytes(as_json_bytes(sealed(without)))
        assert verify.bytes_faults(folder, [sha256_of(model / "passport.json")])
        (folder / "passport.json").write_bytes(as_json_bytes(without))
        assert verify.bytes_faults(folder, [])
    write_json(folder / "passport.json", sealed(passport | {"accuracy": 0.99}))
    assert "accuracy: no passport has such a key" in verify.verify(folder, dataset).differences


@pytest.mark.parametrize("name", ["model.onnx", "passport.json", "curves.json"])
def test_every_flipped_byte_of_a_models_files_is_detected(model, dataset, remembered, tmp_path, name):
    generator = np.random.default_rng(7)
    whole = (model / name).read_bytes()
    folder = copied(model, tmp_path)
    for position in [0, len(whole) - 1, *generator.integers(len(whole), size=40 if name != "curves.json" else 8)]:
        spoiled = bytearray(whole)
        spoiled[position] ^= 1 << int(generator.integers(8))
        (folder / name).write_bytes(spoiled)
        assert is_detected(folder, dataset), f"{name} byte {position}: {whole[position]} became {spoiled[position]}"
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        assert is_detected(folder, dataset), f"{name} cut to {length} bytes"


def is_detected(folder: Path, dataset: DatasetRef) -> bool:
    """Whether verify says so, by a difference or by an error that names a file and a repair."""
    try:
        return not verify.verify(folder, dataset).is_true
    except DeskError as error:
        return any(word in str(error) for word in ("make", "desk"))


@pytest.mark.parametrize("part", ["path", "manifest_path"])
def test_every_flipped_byte_of_the_data_set_is_detected(model, dataset, tmp_path, part):
    generator = np.random.default_rng(8)
    files = {name: Path(shutil.copy(getattr(dataset, name), tmp_path)) for name in ("path", "manifest_path")}
    there = DatasetRef(dataset.digest, str(files["path"]), str(files["manifest_path"]))
    whole = files[part].read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "load_dataset", load_dataset)
        # what comes after the data set was read does not matter here, and takes long
        for name in ("_figures", "_stored_parity", "_refitted"):
            patch.setattr(verify, name, lambda *_: None)
        for position in [0, len(whole) - 1, *generator.integers(len(whole), size=12)]:
            spoiled = bytearray(whole)
            spoiled[position] ^= 1 << int(generator.integers(8))
            files[part].write_bytes(spoiled)
            assert is_detected(model, there), f"{part} byte {position}"
        files[part].write_bytes(whole[: len(whole) // 2])
        assert is_detected(model, there)
        files[part].unlink()
        with pytest.raises(DeskError, match=r"make features|desk dataset rebuild"):
            verify.verify(model, there)


def test_files_of_two_models_swapped_are_detected_and_named(model, dataset, remembered, tmp_path):
    other = judged(tmp_path / "other", dataset, 2.0, like=model)
    for name, told in (("model.onnx", "sha256"), ("passport.json", "sha256"), ("curves.json", "curves.json")):
        folder = Path(shutil.copytree(model, tmp_path / name))
        shutil.copy(other / name, folder / name)
        found = verify.verify(folder, dataset)
        assert any(line.startswith(told) for line in found.differences), (name, found.differences)


def test_passport_without_a_seal_is_verified_and_called_unsealed(model, dataset, remembered, tmp_path):
    folder = copied(model, tmp_path)
    passport = json.loads((folder / "passport.json").read_text())
    del passport["seal"]
    write_json(folder / "passport.json", passport)
    found = verify.verify(folder, dataset)
    assert found.is_true, found.differences
    assert any("unsealed" in remark for remark in found.remarks)
    # a seal that was there when it was judged cannot be left out unnoticed
    assert not verify.verify(folder, dataset, recorded=[sha256_of(model / "passport.json")]).is_true


def test_parity_sample_that_torch_never_said_is_named(model, dataset, remembered, tmp_path):
    folder = copied(model, tmp_path)
    passport = json.loads((folder / "passport.json").read_text())
    passport["parity"]["sample"][3]["probability"] += 2e-4
    (folder / "passport.json").write_bytes(as_json_bytes(sealed(passport)))
    assert any(line.startswith("parity.sample.3.probability") for line in verify.verify(folder, dataset).differences)


def test_scorer_refuses_a_passport_changed_after_the_judging(model, tmp_path):
    folder = copied(model, tmp_path)
    passport = json.loads((folder / "passport.json").read_text())
    passport["verdicts"][PRODUCT]["accepted"] = True
    write_json(folder / "passport.json", passport)
    with pytest.raises(ModelMismatchError, match="changed after the judging: its seal says"):
        Scorer(folder)


def test_graph_that_says_more_than_certainty_is_named(model, dataset, tmp_path):
    folder = copied(model, tmp_path)
    graph = onnx.load(folder / "model.onnx")
    graph.graph.node[-1].op_type = "Exp"
    onnx.save(graph, folder / "model.onnx")
    reseal(folder)
    assert any("which is no probability" in line for line in verify.verify(folder, dataset).differences)


def test_graph_with_weights_outside_is_named(model, dataset, tmp_path):
    folder = copied(model, tmp_path)
    graph = onnx.load(folder / "model.onnx")
    weight = graph.graph.initializer[0]
    (folder / "weights.bin").write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, "weights.bin", 0, len(weight.raw_data))
    weight.ClearField("raw_data")
    onnx.save(graph, folder / "model.onnx")
    reseal(folder)
    assert any("weights from another file" in line for line in verify.verify(folder, dataset).differences)


def reseal(folder: Path) -> None:
    """Give the passport the hash of the graph beside it, and the id that holds its beginning."""
    passport = json.loads((folder / "passport.json").read_text())
    sha256 = sha256_of(folder / "model.onnx")
    passport |= {"sha256": sha256, "model_id": f"{passport['candidate_id']}-{sha256[:8]}"}
    (folder / "passport.json").write_bytes(as_json_bytes(sealed(passport)))
