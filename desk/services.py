"""`desk up` and `desk down`: Prefect server, work pool, deployments and worker under supervisord.

The server is never started with `--background`: its output pipe would have no reader and the first
warning would kill it. supervisord keeps both processes in the foreground with log files, restarts a dead
one, and is the one thing `desk down` has to stop.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from core.errors import ConfigError, DeskError
from core.settings import Paths, load_settings
from desk.child_servers import listens

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).resolve().parent.parent
PREFECT_TOML = PROJECT / "prefect.toml"
POOL = "local-process"
_BIN = Path(sys.executable).parent
console = Console()


def _socket(paths: Paths) -> Path:
    # a Unix socket's path may have 108 bytes at most, and DESK_HOME may be deeper than that
    name = hashlib.sha256(str(paths.home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"candledesk-{os.getuid()}-{name}.sock"


def _environ(paths: Paths, port: int) -> dict[str, str]:
    """Return what the server, the worker and the deploy need to agree on."""
    return {
        "PREFECT_HOME": str(paths.home / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        # without this one the pages call port 4200 whatever port they came from
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "DESK_HOME": str(paths.home),
    }


def _configuration(paths: Paths) -> str:
    logs = paths.logs
    # supervisord reads % as the start of an expansion
    folder, sock = str(PROJECT).replace("%", "%%"), str(_socket(paths)).replace("%", "%%")
    program = "directory={folder}\nautorestart=true\nstartsecs=5\nstopwaitsecs=20\nstopasgroup=true\nkillasgroup=true\nredirect_stderr=true\nstdout_logfile_maxbytes=10MB\nstdout_logfile_backups=3"
    common = program.format(folder=folder)
    return f"""[supervisord]
logfile={logs}/supervisord.log
pidfile={logs}/supervisord.pid
childlogdir={logs}
[unix_http_server]
file={sock}
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{sock}
[program:server]
command={_BIN}/prefect server start
{common}
stdout_logfile={logs}/prefect-server.log
[program:worker]
command={_BIN}/prefect worker start --pool {POOL} --type process
autostart=false
{common}
stdout_logfile={logs}/prefect-worker.log
"""


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _control(paths: Paths, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(_BIN / "supervisorctl"), "-c", str(paths.home / "supervisord.conf"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _run(command: list[str], environ: Mapping[str, str], what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=dict(environ), cwd=PROJECT, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        msg = f"{what} failed: {lines[-1] if lines else 'it printed nothing'}; see {' '.join(command[:3])} --help"
        raise DeskError(msg)
    return done.stdout


def is_up(paths: Paths) -> bool:
    """Whether a supervisor of this DESK_HOME answers."""
    return (paths.home / "supervisord.conf").exists() and _control(paths, "pid").returncode == 0


def up(port: Annotated[int, typer.Option(help="Port of the server and its UI")] = 4200) -> None:
    """Start the Prefect server, make the pool, deploy everything, start a worker; all supervised."""
    paths = load_settings().paths.make()
    environ = {**os.environ, **_environ(paths, port)}
    if is_up(paths):
        console.print("already up; `make down` stops it")
    elif listens(port):
        msg = f"port {port} is taken by another program; end it, or choose another: desk up --port {port + 1}"
        raise ConfigError(msg)
    else:
        (paths.home / "prefect").mkdir(parents=True, exist_ok=True)
        (paths.home / "supervisord.conf").write_text(_configuration(paths), encoding="utf-8")
        _run([str(_BIN / "supervisord"), "-c", str(paths.home / "supervisord.conf")], environ, "supervisord")
        try:
            _finish_start(paths, port, environ)
        except BaseException:
            # never leave half of it running
            _control(paths, "shutdown")
            raise
    _farewell(port)


def _finish_start(paths: Paths, port: int, environ: Mapping[str, str]) -> None:
    _wait_healthy(paths, port)
    with console.status("making the work pool"):
        pool = [str(_BIN / "prefect"), "work-pool", "create", POOL, "--type", "process", "--overwrite"]
        _run(pool, environ, "prefect work-pool create")
    with console.status("deploying every flow"):
        _run([str(_BIN / "prefect"), "--no-prompt", "deploy", "--all"], environ, "prefect deploy --all")
    if _control(paths, "start", "worker").returncode != 0:
        msg = f"the worker did not start; see {paths.logs / 'prefect-worker.log'}"
        raise DeskError(msg)
    # Prefect reads this file in the project's folder, so that `prefect ...` in another terminal finds the server
    PREFECT_TOML.write_text(
        f'# written by desk up, removed by desk down\n[api]\nurl = "http://127.0.0.1:{port}/api"\n', encoding="utf-8"
    )


def _wait_healthy(paths: Paths, port: int, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    with console.status("starting the Prefect server (half a minute the first time)"):
        while not _healthy(port):
            if time.monotonic() > deadline or "FATAL" in _control(paths, "status", "server").stdout:
                msg = f"the Prefect server did not become healthy; see {paths.logs / 'prefect-server.log'}"
                raise DeskError(msg)
            time.sleep(0.5)


def _farewell(port: int) -> None:
    console.print(f"[bold]Prefect UI[/bold]  http://127.0.0.1:{port}")
    console.print("run a flow  .venv/bin/prefect deployment run train-all/train-all --watch")
    console.print("all steps   .venv/bin/prefect deployment run restart/restart")
    console.print("stop        make down")


def down() -> None:
    """Stop the server, the worker and their supervisor; nothing is left running."""
    paths = load_settings().paths
    if is_up(paths):
        _stop_supervisor(paths)
        console.print("stopped: worker, server, supervisor")
    else:
        console.print(f"nothing was running for {paths.home}")
    _forget_server()


def _stop_supervisor(paths: Paths) -> None:
    pid = int((paths.logs / "supervisord.pid").read_text(encoding="utf-8").strip())
    _control(paths, "shutdown")
    deadline = time.monotonic() + 60
    while _alive(pid):
        if time.monotonic() > deadline:
            msg = f"supervisord (process {pid}) has not ended within a minute; see {paths.logs / 'supervisord.log'}"
            raise DeskError(msg)
        time.sleep(0.2)


def _forget_server() -> None:
    """Remove the file that points Prefect's commands at a server, unless one of another DESK_HOME still answers there."""
    if not PREFECT_TOML.exists():
        return
    found = re.search(r"127\.0\.0\.1:(\d+)", PREFECT_TOML.read_text(encoding="utf-8"))
    if found is None or not listens(int(found[1])):
        PREFECT_TOML.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def status() -> dict[str, str]:
    """Return the state of each supervised process by name; empty when nothing is up."""
    paths = load_settings().paths
    if not is_up(paths):
        return {}
    lines = _control(paths, "status").stdout.splitlines()
    return {parts[0]: parts[1] for line in lines if len(parts := line.split()) > 1}
