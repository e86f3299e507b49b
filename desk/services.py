"""Run the Prefect server, its work pool, the deployments and a worker under supervisord (`desk up`, `desk down`).

The server is never started with `--background`: its output pipe would have no reader and the first warning would kill
it. supervisord keeps both processes in the foreground with log files and restarts a dead one.

Whoever may talk to the server can run commands as this user, so it answers only to a random log-in kept in a file of mode
0600, lets no page of another origin read it, and its work pool has no variable that a run could set (command, environment).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from core.child_process import bound_to_parent
from core.errors import ConfigError, DeskError
from core.settings import Paths, load_settings
from desk.child_servers import LOOPBACK, listens

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).resolve().parent.parent
PREFECT_TOML = PROJECT / "prefect.toml"
POOL = "local-process"
POOL_TEMPLATE = {
    # without the placeholders {{ command }} and {{ env }} a run cannot choose what the worker starts; an unknown variable is refused
    "job_configuration": {"stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
_BIN = Path(sys.executable).parent
_PORT = 4200
console = Console()


def login_file(paths: Paths) -> Path:
    """Return the file that holds the server's log-in, ``user:password`` on one line; this user alone may read it."""
    return paths.home / "prefect" / "login"


def _profiles(paths: Paths) -> Path:
    return paths.home / "prefect" / "profiles.toml"


def _socket(paths: Paths) -> Path:
    # a Unix socket's path may have 108 bytes at most, and DESK_HOME may be deeper than that
    name = hashlib.sha256(str(paths.home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"candledesk-{os.getuid()}-{name}.sock"


def _prefect_settings(paths: Paths, port: int) -> dict[str, str]:
    """Return what the server, the worker, the deploy and commands of other terminals need to agree on."""
    login = login_file(paths).read_text(encoding="utf-8").strip()
    return {
        "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_API_AUTH_STRING": login,
        "PREFECT_SERVER_API_AUTH_STRING": login,
        # without this one the pages call port 4200 whatever port they came from
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        # Prefect's default is *: any web page could ask and read the answers
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{LOOPBACK}:{port},http://localhost:{port}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def _write_private(file: Path, text: str) -> None:
    """Write ``file`` so that it is never readable by others, not even for a moment."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as sink:
        sink.write(text)


def _write_configuration(paths: Paths, port: int) -> None:
    """Write the log-in (once), Prefect's profile and supervisord's configuration below DESK_HOME."""
    folder = login_file(paths).parent
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not login_file(paths).exists():
        _write_private(login_file(paths), f"desk:{secrets.token_urlsafe(24)}\n")
    lines = [f"{name} = {json.dumps(value)}" for name, value in _prefect_settings(paths, port).items()]
    _write_private(_profiles(paths), "\n".join(['active = "desk"', "[profiles.desk]", *lines, ""]))
    (folder / "pool.json").write_text(json.dumps(POOL_TEMPLATE), encoding="utf-8")
    (paths.home / "supervisord.conf").write_text(_supervision(paths), encoding="utf-8")


def _supervision(paths: Paths) -> str:
    def program(*command: str) -> str:
        # the server and the worker end with supervisord, also when it is killed
        return shlex.join(bound_to_parent([str(_BIN / "prefect"), *command])).replace("%", "%%")

    # supervisord reads % as the start of an expansion
    folder, logs, sock = (str(path).replace("%", "%%") for path in (PROJECT, paths.logs, _socket(paths)))
    common = (
        f"directory={folder}\nautorestart=true\nstartsecs=5\nstopwaitsecs=20\nstopasgroup=true\nkillasgroup=true\n"
        "redirect_stderr=true\nstdout_logfile_maxbytes=10MB\nstdout_logfile_backups=3"
    )
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
command={program("server", "start")}
{common}
stdout_logfile={logs}/prefect-server.log
[program:worker]
command={program("worker", "start", "--pool", POOL, "--type", "process")}
autostart=false
{common}
stdout_logfile={logs}/prefect-worker.log
"""


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/api/health", timeout=2) as answer:
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


def up(
    wanted: Annotated[
        int | None,
        typer.Option("--port", help=f"Port of the server and its UI; {_PORT} when left out", min=1, max=65_535),
    ] = None,
) -> None:
    """Start the Prefect server, make the pool, deploy everything, start a worker; all supervised."""
    paths = load_settings().paths.make()
    port = wanted or _PORT
    if is_up(paths):
        running = _port_of(_profiles(paths)) or port
        if wanted not in (None, running):
            msg = f"it is up already, on port {running}; stop it first: desk down, then desk up --port {wanted}"
            raise ConfigError(msg)
        console.print("already up; `make down` stops it")
        port = running
    elif listens(port):
        msg = f"port {port} is taken by another program; end it, or choose another: desk up --port {port + 1}"
        raise ConfigError(msg)
    else:
        _write_configuration(paths, port)
        environ = {
            **os.environ,
            **_prefect_settings(paths, port),
            "PREFECT_HOME": str(paths.home / "prefect"),
            "DESK_HOME": str(paths.home),
            "DO_NOT_TRACK": "1",
        }
        _run([str(_BIN / "supervisord"), "-c", str(paths.home / "supervisord.conf")], environ, "supervisord")
        try:
            _finish_start(paths, port, environ)
        except BaseException:
            # never leave half of it running
            _control(paths, "shutdown")
            raise
    _farewell(paths, port)


def _finish_start(paths: Paths, port: int, environ: Mapping[str, str]) -> None:
    _wait_healthy(paths, port)
    with console.status("making the work pool"):
        pool = [str(_BIN / "prefect"), "work-pool", "create", POOL, "--type", "process", "--overwrite"]
        pool += ["--base-job-template", str(paths.home / "prefect" / "pool.json")]
        _run(pool, environ, "prefect work-pool create")
    with console.status("deploying every flow"):
        _run([str(_BIN / "prefect"), "--no-prompt", "deploy", "--all"], environ, "prefect deploy --all")
    if _control(paths, "start", "worker").returncode != 0:
        msg = f"the worker did not start; see {paths.logs / 'prefect-worker.log'}"
        raise DeskError(msg)
    # Prefect reads this file in the project's folder, so that `prefect ...` in another terminal finds server and log-in
    PREFECT_TOML.write_text(
        f"# written by desk up, removed by desk down\nprofiles_path = {json.dumps(str(_profiles(paths)))}\n",
        encoding="utf-8",
    )


def _wait_healthy(paths: Paths, port: int, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    with console.status("starting the Prefect server (half a minute the first time)"):
        while not _healthy(port):
            if time.monotonic() > deadline or "FATAL" in _control(paths, "status", "server").stdout:
                msg = f"the Prefect server did not become healthy; see {paths.logs / 'prefect-server.log'}"
                raise DeskError(msg)
            time.sleep(0.5)


def _farewell(paths: Paths, port: int) -> None:
    lines = (
        f"[bold]Prefect UI[/bold]  http://{LOOPBACK}:{port}",
        f"log in      the UI asks once for a password; it is the whole line of: cat {login_file(paths)}",
        "            commands in this folder log in by themselves",
        "run a flow  .venv/bin/prefect deployment run train-all/train-all --watch",
        "all steps   .venv/bin/prefect deployment run restart/restart",
        "stop        make down",
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


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
    if PREFECT_TOML.exists():
        match = re.search(r"profiles_path = (.+)", PREFECT_TOML.read_text(encoding="utf-8"))
        port = _port_of(Path(json.loads(match[1]))) if match else None
        if port is None or not listens(port):
            PREFECT_TOML.unlink()


def _port_of(profiles: Path) -> int | None:
    """Return the port that a profile written by `desk up` names; None where there is no such profile."""
    if not profiles.exists():
        return None
    match = re.search(r"SERVER_API_PORT = \"(\d+)\"", profiles.read_text(encoding="utf-8"))
    return int(match[1]) if match else None


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
