"""From what a person types to a model's folder, its weights and its data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.dataset_files import DatasetRef
from core.errors import DatasetError, ModelError
from core.files import read_json
from core.integrity import sha256_of
from core.settings import Settings
from models.registry.trials import candidate_of
from models.training.candidate import finished


def model_folder(settings: Settings, model: str) -> Path:
    """Return the folder of a promoted model, or of a judged candidate where none is promoted.

    Raises:
        ModelError: there is none, or several; the text names them.
    """
    return _found(settings, model, (settings.paths.promoted, settings.paths.checkpoints))


def candidate_folder(settings: Settings, model: str) -> Path:
    """Return a candidate's own folder, or the promoted copy where that is gone.

    Raises:
        ModelError: there is none, or several; the text names them.
    """
    return _found(settings, model, (settings.paths.checkpoints, settings.paths.promoted))


def _found(settings: Settings, model: str, homes: tuple[Path, ...]) -> Path:
    if "/" in model or Path(model).is_dir():
        if not Path(model).is_dir():
            msg = f"{model} is no folder; name a model: desk models list --all"
            raise ModelError(msg)
        return Path(model)
    for home in homes:
        folders = [path for path in sorted(home.glob("*")) if path.is_dir() and not path.name.startswith(".")]
        # a model's id is its candidate's id with the beginning of its graph's hash
        exact = [path for path in folders if path.name == model or candidate_of(model) == path.name]
        fitting = exact or [path for path in folders if path.name.startswith(model)]
        if len(fitting) > 1:
            msg = f"{model!r} fits {', '.join(path.name for path in fitting)}; write one of them whole"
            raise ModelError(msg)
        if fitting:
            return fitting[0]
    msg = f"no model {model!r} under {settings.paths.home / 'models'}; see: desk models list --all"
    raise ModelError(msg)


def weights_of(settings: Settings, passport: Mapping[str, Any], home: Path) -> Path | None:
    """Return the folder with the weights a model was exported from, None if they are not on this machine."""
    named = settings.paths.checkpoints / str(passport.get("candidate_id") or candidate_of(str(passport["model_id"])))
    return next((folder for folder in (home, named) if finished(folder) is not None), None)


def dataset_of(settings: Settings, told: Mapping[str, Any], file: Path | None = None) -> DatasetRef:
    """Return the data set a passport or a candidate names, or the one in ``file``.

    Raises:
        DatasetError: it is not there; the text names the command that puts it back.
    """
    digest = str(told["dataset_digest"])
    path = file if file is not None else settings.paths.datasets / f"{digest[:16]}.parquet"
    manifest = path.with_suffix(".json")
    if file is None and not path.exists() and manifest.exists():
        # a walk-forward's fold is a manifest alone, over the file of the whole
        path = settings.paths.datasets / f"{str(read_json(manifest).get('base_digest'))[:16]}.parquet"
        digest_there = digest
    else:
        digest_there = sha256_of(path) if file is not None and path.exists() else digest
    if not path.exists() or not manifest.exists():
        gone = path if not path.exists() else manifest
        msg = f"{gone} of data set {digest[:16]} is not there; put it back: desk dataset rebuild {digest[:16]}, or name a copy: --dataset FILE"
        raise DatasetError(msg)
    return DatasetRef(digest_there, str(path), str(manifest))
