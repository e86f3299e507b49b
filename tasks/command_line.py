"""Run one flow from the shell without a deployment, ``python flows/backfill.py -p days=30``; the types of flow parameters.

The Prefect UI draws its forms from the types and refuses what does not fit.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import sys
import textwrap
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

import psutil
import typer
from prefect import Flow
from prefect.context import refresh_global_settings_context
from prefect.exceptions import ParameterTypeError
from prefect.settings import get_current_settings
from pydantic import Field

from core.errors import DeskError
from core.interruption import unwind_from_now

if TYPE_CHECKING:
    from collections.abc import Sequence

Architecture = Literal["lstm", "lstm_one_way", "transformer", "boosting"]
Profile = Literal["seed", "selective", "calibrated"]
Count = Annotated[int, Field(ge=1)]
NaturalNumber = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
"""Of a whole, nought left out."""
PartialShare = Annotated[float, Field(ge=0, lt=1)]
"""Of a whole, the whole left out."""


class OneLine(logging.Filter):
    """Print an error made on purpose as its one line; only what nobody foresaw keeps its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop the traceback of a `DeskError`; pass every record on."""
        if record.exc_info and isinstance(record.exc_info[1], DeskError):
            record.msg, record.args = "%s", (str(record.exc_info[1]),)
            record.exc_info = record.exc_text = None
        return True


_SERVER = "prefect.server.api.server:create_app"
"""What stands on the command line of every server of Prefect's."""
_OWNER_VARIABLE = "CANDLEDESK_FLOW_PROCESS"
"""Id and start of the process whose temporary server it is, in that server's environment."""
_STARTUP_VARIABLE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"

for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(OneLine())


def run_from_shell(flow: Flow[..., Any], arguments: Sequence[str] | None = None) -> None:
    """Parse ``-p name=value`` pairs (values as JSON, or plain text) and run ``flow``.

    A `DeskError` ends the process with status 2 and one line that names the repair.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=_help(flow))(_command(flow))
    _prepare_temporary_server()
    # so that SIGTERM unwinds: atexit then ends the temporary server, which would live on as an orphan of 250 MB
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    unwind_from_now()
    app(args=list(arguments) if arguments is not None else None, standalone_mode=True)


def _prepare_temporary_server() -> None:
    """Give the server that Prefect starts for this one process time to come up and a random log-in, closed to other origins.

    It needs 20 to 35 s on a busy machine, Prefect's default is 20 s. It listens on a loopback port, which any local user and
    any web page reaches.
    """
    os.environ.setdefault(_STARTUP_VARIABLE, "180")
    if not get_current_settings().api.url:  # a server that runs already has the log-in of `desk up`'s profile
        login = f"desk:{secrets.token_urlsafe(24)}"
        os.environ["PREFECT_API_AUTH_STRING"] = os.environ["PREFECT_SERVER_API_AUTH_STRING"] = login
        os.environ["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] = "none"
        end_orphaned_servers()
        os.environ[_OWNER_VARIABLE] = _identity(psutil.Process())
    refresh_global_settings_context()  # Prefect read the environment when it was imported, before this module


def end_orphaned_servers() -> None:
    """End temporary servers of flows that were killed: 250 MB each, and nobody else ends them.

    One is known by the flow that it names in its environment, which runs no more.
    """
    for process in psutil.process_iter():
        # of another user, or gone meanwhile
        with suppress(psutil.Error):
            if process.uids().real == os.getuid() and _SERVER in process.cmdline():
                owner = process.environ().get(_OWNER_VARIABLE)
                if owner is not None and not _is_running(owner):
                    process.terminate()


def _identity(process: psutil.Process) -> str:
    return f"{process.pid} {process.create_time():.2f}"


def _is_running(identity: str) -> bool:
    pid = int(identity.partition(" ")[0])
    return psutil.pid_exists(pid) and _identity(psutil.Process(pid)) == identity


def _help(flow: Flow[..., Any]) -> str:
    """Return what the flow does and a line for each parameter, as its docstring tells them."""
    summary = (flow.description or flow.name).partition("\n\nArgs:")[0].strip()
    sentences = {name: schema.get("description", "") for name, schema in flow.parameters.properties.items()}
    lines = [f"  {name}  {textwrap.shorten(text, 10_000)}".rstrip() for name, text in sentences.items()]
    # the mark keeps lines apart where they would be set as one paragraph
    return f"{summary}\n\n\b\nParameters:\n" + "\n".join(lines)


def _command(flow: Flow[..., Any]) -> Any:  # noqa: ANN401 - a typer callback has no type worth naming
    def command(
        parameter: Annotated[
            list[str] | None, typer.Option("--param", "-p", help="name=value, as often as needed")
        ] = None,
    ) -> None:
        try:
            given = _parameters(flow, parameter or [])
            flow.validate_parameters(given)  # before a server is asked for anything
            flow(**given)
        except ParameterTypeError as error:
            print(f"{flow.name}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201 - the same
            raise typer.Exit(2) from None
        except DeskError as error:
            print(f"{flow.name}: {error}", file=sys.stderr)  # noqa: T201 - the last word of a command belongs on the screen
            raise typer.Exit(2) from None
        except RuntimeError as error:
            if "ephemeral Prefect API server" not in str(error):
                raise
            msg = (
                f"{flow.name}: Prefect's temporary server did not come up in time; wait until the machine is less busy, start "
                f"a lasting one with make up, or set {_STARTUP_VARIABLE} higher"
            )
            print(msg, file=sys.stderr)  # noqa: T201 - the same
            raise typer.Exit(2) from None

    return command


def _parameters(flow: Flow[..., Any], pairs: Sequence[str]) -> dict[str, object]:
    parameters: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in flow.parameters.properties:
            msg = f"{pair!r} is no name=value of {flow.name}; it takes {', '.join(flow.parameters.properties)}"
            raise typer.BadParameter(msg)
        try:
            parameters[name] = json.loads(text)
        except json.JSONDecodeError:
            parameters[name] = text
    return parameters
