"""Where workers find data sets and leave candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import ConfigError
from core.remote_folder import is_uri, open_folder, redacted, within
from models.datasets.remote_dataset import publish_dataset

if TYPE_CHECKING:
    from core.dataset_files import DatasetRef
    from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Shared:
    """What a training needs to know of other machines: nothing, where it runs on this one."""

    dataset: DatasetRef
    candidates: str = ""
    """URI of the folder that candidates are put into."""


def share(settings: Settings, dataset: DatasetRef) -> Shared:
    """Put ``dataset`` where the workers of TASK_RUNNER can read it; nothing to do for processes of this machine.

    Raises:
        ConfigError: candidates could not be written back.
        RemoteFolderError: a URI holds credentials, or its folder cannot be used.
    """
    if settings.task_runner == "processes":
        return Shared(dataset)
    datasets = _folder(settings.datasets_uri, "DATASETS_URI") or settings.paths.datasets.as_uri()
    candidates = _folder(settings.candidates_uri, "CANDIDATES_URI") or (
        within(datasets, "candidates") if settings.datasets_uri else settings.paths.checkpoints.as_uri()
    )
    if candidates.startswith(("http://", "https://")):
        msg = f"candidates cannot be written to {redacted(candidates)}; set CANDIDATES_URI to a folder that workers can write, such as s3://bucket/desk"
        raise ConfigError(msg)
    open_folder(candidates)
    return Shared(publish_dataset(dataset, datasets), candidates)


def _folder(uri: str, setting: str) -> str:
    if uri and not is_uri(uri):
        msg = f"{setting} is no URI; write for example file:///mnt/desk or s3://bucket/desk"
        raise ConfigError(msg)
    return uri
