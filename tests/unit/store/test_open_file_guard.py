"""A live database is never touched beside DuckDB: the loss this prevents, and the refusal."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import LiveFileError
from store import open_file_guard
from store.database import attached, connect, write_transaction

ROOT = Path(__file__).resolve().parents[3]

# what a task does that hashes the database it is just writing
CARELESS = """
import subprocess, sys
from pathlib import Path
import duckdb
path = Path(sys.argv[1])
if sys.argv[2] == "guarded":
    from store.database import connect
    mine = connect(path)
else:
    mine = duckdb.connect(str(path))
mine.execute("create table rows (who varchar)")
mine.execute("checkpoint")
try:
    path.read_bytes()
except Exception as error:
    print(type(error).__name__, flush=True)
theirs = "import duckdb; c = duckdb.connect(" + repr(str(path)) + "); c.execute(\\"insert into rows select 'theirs' from range(200000)\\"); c.close()"
done = subprocess.run([sys.executable, "-c", theirs], capture_output=True, text=True)
print("second writer", "got in" if done.returncode == 0 else "was kept out", flush=True)
mine.execute("insert into rows values ('mine')")
mine.execute("checkpoint")
mine.close()
"""


def careless(path: Path, how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CARELESS, str(path), how],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout.splitlines()


def counted(path: Path) -> dict[str, int]:
    connection = connect(path)
    try:
        return dict(connection.execute("select who, count(*) from rows group by who").fetchall())
    finally:
        connection.close()


def test_reading_a_live_file_without_the_guard_loses_committed_rows(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    assert careless(path, "bare") == ["second writer got in"]
    # the second writer's 200,000 rows were committed, without an error, and are gone
    assert counted(path) == {"mine": 1}


def test_reading_a_live_file_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    assert careless(path, "guarded") == ["LiveFileError", "second writer was kept out"]
    assert counted(path) == {"mine": 1}


def touches(path: Path) -> dict[str, object]:
    """Return ways to touch a file from Python, by name."""
    copy = path.with_name("elsewhere")
    return {
        "open": lambda: path.open("rb"),
        "read": path.read_bytes,
        "append": lambda: path.open("ab"),
        "os.open": lambda: os.open(path, os.O_RDONLY),
        "bytes": lambda: open(os.fsencode(path), "rb"),  # noqa: PTH123  # another spelling of the path
        "copy": lambda: shutil.copy(path, copy),
        "move": lambda: shutil.move(path, copy),
        "rename": lambda: path.rename(copy),
        "replace it": lambda: copy.with_name("other").replace(path),
        "remove": path.unlink,
        "truncate": lambda: os.truncate(path, 0),
        "relative": lambda: Path(os.path.relpath(path)).read_bytes(),
        "link": lambda: path.with_name("link").read_bytes(),
        "hard link": lambda: path.with_name("hard").read_bytes(),
    }


@pytest.mark.parametrize("name", list(touches(Path("x"))))
@pytest.mark.parametrize("suffix", ["", ".wal"])
def test_touching_an_open_database_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / "market.duckdb"
    connection = connect(path)
    try:
        connection.execute("create table rows (n integer)")
        touched = path.with_name(path.name + suffix)
        touched.with_name("link").symlink_to(touched)
        touched.with_name("hard").hardlink_to(touched)
        touched.with_name("other").write_bytes(b"")
        with pytest.raises(LiveFileError, match="published copy"):
            touches(touched)[name]()  # type: ignore[operator]
    finally:
        connection.close()


def test_closed_database_may_be_touched(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    with write_transaction(path) as connection:
        connection.execute("create table rows (n integer)")
    assert path.read_bytes()
    shutil.copy(path, tmp_path / "copy.duckdb")
    (tmp_path / "copy.duckdb").rename(path)


def test_number_of_a_deleted_database_may_belong_to_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some hundred stores in one process a recycled number refused an innocent file, or the removal of a folder."""
    connect(tmp_path / "old.duckdb").close()
    innocent = tmp_path / "notes.txt"
    innocent.write_text("x")
    status = innocent.stat()
    (tmp_path / "old.duckdb").unlink()
    monkeypatch.setitem(
        open_file_guard._known, os.path.realpath(tmp_path / "old.duckdb"), (status.st_dev, status.st_ino)
    )
    with innocent.open(), innocent.open():
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "old.duckdb").touch()
        shutil.rmtree(tmp_path / "other")
    assert os.path.realpath(tmp_path / "old.duckdb") not in open_file_guard._known


def test_other_files_may_be_opened_meanwhile(tmp_path: Path) -> None:
    with write_transaction(tmp_path / "market.duckdb"):
        (tmp_path / "market.json").write_text("{}")
        assert (tmp_path / "market.json").read_text() == "{}"


def test_connecting_twice_in_one_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    first = connect(path)
    try:
        (tmp_path / "link.duckdb").symlink_to(path)
        for name in (path, tmp_path / "link.duckdb"):
            with pytest.raises(LiveFileError, match="open in this process already"):
                connect(name)
    finally:
        first.close()
    connect(path).close()


def test_connecting_while_python_has_the_file_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    connect(path).close()
    with path.open("rb"), pytest.raises(LiveFileError, match="close that connection"):
        # closing the file after DuckDB took its lock would drop that lock
        connect(path)
    connect(path).close()


def test_attached_database_is_guarded_too(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    connect(path).close()
    memory = connect(":memory:")
    with attached(memory, path):
        with pytest.raises(LiveFileError):
            path.read_bytes()
        with pytest.raises(LiveFileError):
            connect(path)
    assert path.read_bytes()
    memory.close()


def test_no_module_but_the_store_opens_a_live_file() -> None:
    """`market_db` and `signals_db` may be handed to a store or asked whether they exist, nothing else."""
    rooms = ("flows", "tasks", "models", "desk", "benchmarks", "store")
    found = [
        f"{path.relative_to(ROOT)}: {ast.unparse(node)}"
        for room in rooms
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if is_opening(node)
    ]
    assert found == []


def is_opening(node: ast.AST) -> bool:
    """Whether it is ``paths.market_db.read_bytes`` and the like, or ``open(paths.market_db)``, ``shutil.copy(...)``."""
    if isinstance(node, ast.Attribute):
        return is_live(node.value) and node.attr not in {"exists", "parent", "name", "stat", "with_name"}
    if isinstance(node, ast.Call):
        opens = {"open", "copy", "copyfile", "copy2", "move", "replace", "rename", "run", "remove", "connect"}
        return ast.unparse(node.func).rpartition(".")[2] in opens and any(map(is_live, node.args))
    return False


def is_live(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in {"market_db", "signals_db"}


@pytest.mark.parametrize(
    ("code", "opens"),
    [
        ("paths.market_db.read_bytes()", True),
        ("open(self.paths.signals_db)", True),
        ("shutil.copy(paths.market_db, there)", True),
        ("paths.market_db.exists()", False),
        ("FeatureStore(paths.market_db)", False),
        ("paths.market_copy.read_bytes()", False),
    ],
)
def test_house_rule_tells_opening_from_naming(code: str, *, opens: bool) -> None:
    assert any(is_opening(node) for node in ast.walk(ast.parse(code))) is opens


def test_only_the_store_s_one_module_connects() -> None:
    calls = [
        path.name
        for path in sorted((ROOT / "store").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "duckdb.connect"
    ]
    assert calls == ["database.py"]


def test_database_first_opened_by_another_thread_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, opened = {"one": (1, 1), "two": (2, 2)}, []
    identity = open_file_guard._identity

    def meanwhile(path: Path | str) -> tuple[int, int] | None:
        opened.append(path)
        known[f"another {len(opened)}"] = (3, len(opened))
        return identity(path)

    monkeypatch.setattr(open_file_guard, "_known", known)
    monkeypatch.setattr(open_file_guard, "_identity", meanwhile)
    open_file_guard._require_untouched(str(tmp_path))
    assert len(opened) > 2
