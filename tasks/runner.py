"""Which task runner a flow uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture


def threads(most: int = 32) -> TaskRunner[PrefectFuture[Any]]:
    """Return a pool of threads: tasks wait for the network or for a child process, so threads suffice."""
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=most))
