"""Choose the task runner of a flow, run its trainings there, and give their workers a folder for data sets and candidates."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, cast

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.settings import get_current_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from core.errors import ConfigError
from core.redaction import redact_uri
from core.remote_folder import is_uri, open_folder, within
from core.settings import load_settings
from market.providers.extras import extra
from models.datasets.remote_dataset import publish_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.futures import PrefectFuture

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
        msg = f"candidates cannot be written to {redact_uri(candidates)}; set CANDIDATES_URI to a folder that workers can write, such as s3://bucket/desk"
        raise ConfigError(msg)
    open_folder(candidates)
    return Shared(publish_dataset(dataset, datasets), candidates)


def _folder(uri: str, setting: str) -> str:
    if uri and not is_uri(uri):
        msg = f"{setting} is no URI; write for example file:///mnt/desk or s3://bucket/desk"
        raise ConfigError(msg)
    return uri


def threads(most: int = 32) -> TaskRunner[PrefectFuture[Any]]:
    """Return a pool of threads: tasks wait for the network or for a child process, so threads suffice."""
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=most))


@cache
def child_slots() -> BoundedSemaphore:
    """Let TRAIN_WORKERS processes train or judge at once for this one, whatever the flow's task runner allows."""
    return BoundedSemaphore(load_settings().train_workers)


@contextmanager
def training_runner() -> Iterator[tuple[type[Exception], ...]]:
    """Let tasks that are submitted inside the block run where TASK_RUNNER says; yield what a lost worker raises.

    Only trainings go elsewhere: every other task needs the database, which has one writer on one machine. A worker is
    sent the task and its parameters, and of the flow no more than the name: pickled whole, a flow drags along the modules
    of all its tasks, DuckDB among them.

    Raises:
        ConfigError: the extra of that runner is not installed, or there is no Prefect server that workers can reach.
    """
    settings, flow_run = load_settings(), FlowRunContext.get()
    if settings.task_runner == "processes" or flow_run is None or flow_run.flow is None:
        yield ()
        return
    runner, lost = _runner(settings)
    name_only = Flow(_nothing, name=flow_run.flow.name, task_runner=threads())
    with runner as started, flow_run.model_copy(update={"task_runner": started, "flow": name_only}):
        yield lost


def _nothing() -> None:
    """Stand for a flow's own function, which no worker calls."""


def _runner(settings: Settings) -> tuple[TaskRunner[Any], tuple[type[Exception], ...]]:
    make = {"dask": _dask, "ray": _ray}[settings.task_runner]
    runner = make(settings)
    if not get_current_settings().api.url:
        msg = f"TASK_RUNNER={settings.task_runner} needs a Prefect server that its workers reach, to tell how far they are: make up, or set PREFECT_API_URL"
        raise ConfigError(msg)
    return runner


def _dask(settings: Settings) -> tuple[TaskRunner[Any], tuple[type[Exception], ...]]:
    library, distributed = _extra("dask", "prefect_dask"), _extra("dask", "distributed")
    lost = (distributed.scheduler.KilledWorker, distributed.client.FutureCancelledError)
    if settings.task_runner_address:
        return library.DaskTaskRunner(address=settings.task_runner_address), lost
    # on this machine: a process for each training. Dask unpickles what reaches its ports, so only holders of a certificate
    # made for this one cluster get in, and the dashboard is off
    cluster = {"n_workers": settings.train_workers, "threads_per_worker": 1, "host": "127.0.0.1", "security": True}
    return library.DaskTaskRunner(cluster_kwargs=cluster | {"dashboard_address": None, "memory_limit": 0}), lost


def _ray(settings: Settings) -> tuple[TaskRunner[Any], tuple[type[Exception], ...]]:
    library, ray = _extra("ray", "prefect_ray"), _extra("ray", "ray")
    lost = (ray.exceptions.RayError,)
    if settings.task_runner_address:
        return library.RayTaskRunner(address=settings.task_runner_address), lost
    local = {"num_cpus": settings.train_workers, "include_dashboard": False}
    return library.RayTaskRunner(init_kwargs=local), lost


def _extra(name: str, module: str) -> Any:  # noqa: ANN401 - the libraries behind the extras carry no types here
    return extra(name, module, setting="TASK_RUNNER")
