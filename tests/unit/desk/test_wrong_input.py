"""Every documented command against wrong input: one line that says what is wrong, never a traceback."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prefect import Flow

from core.settings import Paths, Settings
from desk import __main__ as command_line
from tasks.command_line import run_from_shell

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]

ASKING = (
    "doctor; coverage; coverage --daily; coverage NOPE; coverage --windows nope; sql --list; sql why_no_signal; sql 'selec 1'; "
    "sql 'from nowhere'; sql nowhere.sql; sql 'select 1' --format nope; sql 'from candles_1m' --read nothing.csv; dataset list; "
    "dataset rebuild nothing; models list; models show nothing; models verify nothing; models promote nothing; "
    "models rollback nothing; models rollback nothing --reason x; models restore; evaluate; evaluate --model nothing; "
    "evaluate --min-accuracy nope; evaluate --min-accuracy 7; data docs; data docs --set nothing; alerts list; alerts test; "
    "alerts retry; account show; account reset; account reset --reason x; account rearm; account rearm --reason x; account set 5 --reason x; account set nan --reason x; account set x; limits; "
    "limits --mode nope; status; status --json; status nope; observation list; observation show nope; observation new --why x; kill status; kill off; kill pause nope; kill resume nope; kill resume BTC; kill reduce nope; verify; verify --format nope; publish; migrate; "
    "import; import nothing.csv; import .; import --restore nothing.parquet; import words.txt; import words.txt --explain; "
    "import --restore words.txt; import candles.csv; import candles.csv --columns a,b; import candles.csv --product btc; "
    "import candles.csv --product BTC-USD --explain; import candles.csv --product BTC-USD --dry-run; simulate-loss nope; "
    "leak-check --set nope; leak-check --seeds -1; walk-forward --products nope; walk-forward --folds nope; "
    "walk-forward --configurations nothing.toml; walk-forward --set nope; walk-forward --dataset nothing; schema-doc nope"
)
"""They read or write the folder and end at once."""
STARTING = (
    "demo --market nope; demo --days 1; demo --market recorded --data nothing; run --mode nope; run --iterations x; "
    "run --products nope --iterations 1; follow --products nope; follow --iterations -7; exchange --behaviour nope=1; "
    "exchange --public-key nothing.pem; exchange --port x; exchange --listed-at nope; exchange --start nope; up nope; down nope; "
    "null-check --universes -1; null-check --architecture nope; probe coinbase --product btc; probe nope; simulate-loss"
)
"""They would go on working where nothing is wrong with them."""


def split(lines: str) -> list[str]:
    return [" ".join(line.split()) for line in lines.split(";")]


def sound(_home: Path) -> None:
    """Leave the folder as it is, with nothing in it."""


def damaged(home: Path) -> None:
    paths = Paths(home).make()
    for path in (
        paths.market_db,
        paths.market_copy,
        paths.signals_db,
        paths.signals_copy,
        paths.registry,
        paths.kill_switch,
        paths.runtime_address,
    ):
        path.write_text("these are notes, " * 1000, encoding="utf-8")


def unwritable(home: Path) -> None:
    home.write_text("", encoding="utf-8")


def mistyped(home: Path) -> None:
    (home.parent / ".env").write_text("KILLSWITCH=on\n", encoding="utf-8")


@pytest.fixture
def end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[object, str]]:
    """Run ``desk ...`` as a person does, in a folder of its own; return its status and all it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.setenv("COINBASE_BASE_URL", "http://127.0.0.1:9/api/v3/brokerage")
    (tmp_path / "words.txt").write_text("no candle\n" * 9, encoding="utf-8")
    (tmp_path / "candles.csv").write_text("time,open,high,low,close,volume\n1704426480,1,1,1,1,1\n", encoding="utf-8")

    def run(line: str) -> tuple[object, str]:
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)]
        monkeypatch.setattr(sys, "argv", ["desk", *words])
        # nobody is there to answer a question
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        # anything but an end on purpose leaves by itself: it would be a traceback on the screen
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        shown = capsys.readouterr()
        return ended.value.code, shown.out + shown.err

    return run


@pytest.mark.parametrize("line", split(ASKING + "; " + STARTING))
def test_wrong_words_end_without_a_traceback(end: Callable[[str], tuple[object, str]], line: str) -> None:
    _, shown = end(line)
    assert "Traceback" not in shown
    assert shown.strip()


@pytest.mark.parametrize("world", [damaged, unwritable, mistyped], ids=lambda world: world.__name__)
def test_wrong_folder_or_settings_end_without_a_traceback(
    end: Callable[[str], tuple[object, str]], tmp_path: Path, world: Callable[[Path], None]
) -> None:
    world(tmp_path / "var")
    for line in split(ASKING):
        status, shown = end(line)
        assert "Traceback" not in shown, line
        assert shown.strip(), line
        # 3: desk status, where no runtime runs
        assert status in {0, 1, 2, 3}, line
    if world is mistyped:
        assert "KILLSWITCH, which is no setting; KILL_SWITCH is" in end("coverage")[1]


def test_every_documented_command_is_tried() -> None:
    tried = {line.partition(" ")[0] for line in split(ASKING + "; " + STARTING)}
    assert tried == set(command_line._COMMANDS)
    written = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"bin/desk\)? ([a-z][a-z-]+)|\(BIN\)/desk ([a-z-]+)", path.read_text(encoding="utf-8"))
        for name in name
        if name
    }
    assert written <= tried


@pytest.mark.parametrize("file", sorted((ROOT / "flows").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_wrong_parameters_of_a_flow_are_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location(f"wrong_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flow = getattr(module, file.stem)
    monkeypatch.setattr("tasks.command_line._prepare_temporary_server", lambda: None)
    monkeypatch.setattr("tasks.command_line.signal.signal", lambda *_: None)
    monkeypatch.setattr(Flow, "__call__", lambda *_, **__: pytest.fail("it was run"))
    first = next(iter(flow.parameters.properties))
    for arguments in (["-p", "nonsense=1"], ["-p", "nonsense"], ["-p", f'{first}={{"a": [1]}}'], ["nope"]):
        with pytest.raises(SystemExit) as ended:
            run_from_shell(flow, arguments)
        assert ended.value.code == 2
        assert "Traceback" not in capsys.readouterr().err
