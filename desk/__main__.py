"""The command `desk`, the same as `python -m desk`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click
import typer

from desk.errors import DeskError

# name on the command line -> module:function and the line --help shows; loaded only when used, so that
# `desk run` stays a light process without torch, Prefect or plotting
_COMMANDS = {
    "doctor": ("desk.commands.doctor:doctor", "What is there, what is missing, which command next"),
    "demo": ("desk.commands.demo:demo", "From an empty folder to a verdict against a local exchange"),
    "up": ("desk.commands.services:up", "Prefect server, pool, deployments and worker, supervised"),
    "down": ("desk.commands.services:down", "Stop all that `desk up` started"),
    "sql": ("desk.commands.query:sql", "SQL on the published read copies"),
    "coverage": ("desk.commands.store:coverage", "Which minutes are stored, proved empty, missing"),
    "publish": ("desk.commands.store:publish", "Refresh the read copies"),
    "schema-doc": ("desk.commands.store:schema_doc", "Write docs/schema.md from the SQL headers"),
    "models": ("desk.commands.models:app", "list, show, verify, promote, rollback"),
    "evaluate": ("desk.commands.models:evaluate", "Judge a model against the gates"),
    "exchange": ("desk.exchange.command:exchange", "A local Coinbase on loopback"),
    "run": ("desk.runtime.command:run", "The runtime: decide every closed minute"),
    "alerts": ("desk.runtime.command:alerts_app", "test"),
    "kill": ("desk.runtime.command:kill_app", "on, off, status"),
    "simulate-loss": ("desk.runtime.command:simulate_loss", "Drive a paper account into each limit and show the block"),
}


class LazyGroup(click.Group):
    """A command group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the pipeline."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return one command."""
        if cmd_name not in _COMMANDS:
            return None
        where, _ = _COMMANDS[cmd_name]
        module, _, name = where.partition(":")
        return _as_click(getattr(import_module(module), name), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in _COMMANDS.items()])


def _as_click(target: typer.Typer | Callable[..., Any], name: str) -> click.Command:
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(target)
    return typer.main.get_command(app)


def main() -> None:
    """Run one command; an error made on purpose is one line and status 2."""
    group = LazyGroup(name="desk", help="Candledesk: from exchange candles to trading signals that can be trusted.")
    try:
        group(prog_name="desk")
    except DeskError as error:
        print(f"desk: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
