"""The command `desk`, the same as `python -m desk`."""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib import import_module

import typer

from core.errors import DeskError
from core.interruption import INTERRUPTED, unwind_from_now

_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EROFS}

# name on the command line -> module:function and the line --help shows; loaded only when used, so that
# `desk run` stays a light process without torch, Prefect or plotting
_COMMANDS = {
    "doctor": ("desk.doctor:doctor", "What is there, what is missing, which command next"),
    "demo": ("desk.demo:demo", "From an empty folder to a verdict against a local exchange"),
    "up": ("desk.services:up", "Prefect server, pool, deployments and worker, supervised"),
    "down": ("desk.services:down", "Stop all that `desk up` started"),
    "sql": ("desk.sql:sql", "SQL on the published read copies"),
    "follow": ("desk.follow:follow", "Store every minute live, within seconds of its close"),
    "data": ("desk.data:app", "docs: coverage, quality and feature distributions as one page"),
    "observation": ("desk.observation:app", "What was observed under which models and rules; begin anew"),
    "coverage": ("desk.coverage:coverage", "Which minutes are stored, proved empty, missing"),
    "import": ("desk.import_candles:import_", "Candles from CSV, JSON, Parquet and Feather files"),
    "verify": ("desk.verify_store:verify", "Prove the store against exports, ledger and checks"),
    "leak-check": ("desk.leak_check:leak_check", "Does anything know the future? Audit, plants, clean seeds"),
    "walk-forward": ("desk.walk_forward:walk_forward", "Train and judge fold by fold through time"),
    "null-check": ("desk.null_check:null_check", "Is luck ever promoted, is an edge? Small known universes"),
    "dataset": ("desk.dataset:app", "list, rebuild HASH: data sets, and a past one built again"),
    "migrate": ("desk.publish:migrate", "Bring tables, views and macros of the databases up to date"),
    "publish": ("desk.publish:publish", "Refresh the read copies"),
    "schema-doc": ("desk.publish:schema_doc", "Write docs/schema.md from the SQL headers"),
    "models": ("desk.models:app", "list, show, promote, rollback, verify, restore: the model registry"),
    "evaluate": ("desk.models:evaluate", "Judge a model against the gates"),
    "probe": ("desk.probe:app", "What the exchange really does, against what the local one assumes"),
    "exchange": ("desk.exchange:exchange", "A local Coinbase on loopback"),
    "run": ("desk.run:run", "The runtime: decide every closed minute"),
    "status": ("desk.status:status", "What runs, how far it is, what stands in its way"),
    "alerts": ("desk.run:alerts_app", "test, list, retry"),
    "account": ("desk.account:app", "show, set, rearm, reset: the account of each mode"),
    "limits": ("desk.limits:limits", "Each rule of the firm: base, used, left, when it resets"),
    "kill": ("desk.run:kill_app", "on, reduce, pause, resume, off, status"),
    "simulate-loss": ("desk.run:simulate_loss", "Drive a paper account into each limit and show the block"),
}


def build(wanted: str | None) -> typer.Typer:
    """Return the command line with ``wanted`` imported; of the others only the name and the sentence are known."""
    app = typer.Typer(
        name="desk",
        help="Candledesk: from exchange candles to trading signals that can be trusted.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for name, (where, sentence) in _COMMANDS.items():
        if name != wanted:
            app.command(name, help=sentence)(_not_loaded)
            continue
        module, _, attribute = where.partition(":")
        target = getattr(import_module(module), attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=sentence)
        else:
            app.command(name)(target)
    return app


def _not_loaded() -> None:
    """Stand in for a command in the list of `desk --help`."""


def main() -> None:
    """Run one command; an error made on purpose is one line and status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a terminal without a letter shows ? in its place
            stream.reconfigure(errors="replace")
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        unwind_from_now()
        build(wanted)(prog_name="desk")
    except DeskError as error:
        print(f"desk: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        print(f"desk: {error}; see that the folder and the file are yours to write", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, RuntimeError, SystemExit) as end:
        # typer ends by Ctrl-C with 130 and no word, DuckDB with its own; while a command is imported nothing has caught it yet
        is_interrupt = isinstance(end, KeyboardInterrupt) or str(end) in {str(INTERRUPTED), "Query interrupted"}
        if not is_interrupt:
            raise
        print("desk: interrupted", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # no thread is waited for: one may be minutes away from its end
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
