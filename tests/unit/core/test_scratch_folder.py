"""A scratch folder goes with its block; one whose process was killed goes when the next is made, and no other one does."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from core.errors import FileError
from core.locks import scratch_folder

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys
from contextlib import suppress
from pathlib import Path
from core.locks import scratch_folder
with scratch_folder("work", Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path):
    """A process that holds a scratch folder below tmp_path."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_folder_goes_with_its_block_whatever_ends_it(tmp_path: Path) -> None:
    with suppress(KeyError), scratch_folder("work", tmp_path) as folder:
        (folder / "x").write_text("x")
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_folder_of_a_killed_process_goes_with_the_next_start(held, tmp_path: Path) -> None:
    (left,) = tmp_path.iterdir()
    with scratch_folder("work", tmp_path):
        assert left.exists(), "its process lives"
    held.send_signal(signal.SIGKILL)
    held.wait()
    assert (left / "half").exists()
    with scratch_folder("other", tmp_path):
        assert left.exists(), "it is of another purpose"
    with scratch_folder("work", tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_process_that_ends_by_itself_leaves_nothing(held, tmp_path: Path) -> None:
    assert list(tmp_path.iterdir())
    held.stdin.close()
    assert held.wait() == 0
    assert not list(tmp_path.iterdir())


def test_link_with_the_name_of_a_dead_folder_is_not_followed(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "kept").write_text("x")
    (tmp_path / ".candledesk-work-link").symlink_to(own)
    with scratch_folder("work", tmp_path):
        pass
    assert (own / "kept").exists()


def test_folder_that_cannot_be_made_is_told() -> None:
    with pytest.raises(FileError), scratch_folder("work", Path("/proc/none")):
        pass
