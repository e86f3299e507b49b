"""`desk sql` as a person sees it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from core.candles import Span
from core.errors import ConfigError, StoreError
from core.settings import Paths
from desk import sql as command
from store.feature_store import FeatureStore
from store.schema import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.candles import Candle, Page

ROOT = Path(__file__).resolve().parents[3]
T0 = datetime(2025, 3, 1, tzinfo=UTC)
SPAN = Span(T0, T0 + timedelta(hours=12))


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> Path:
    paths = Paths(tmp_path_factory.mktemp("asked"))
    store = FeatureStore(paths.market_db)
    store.migrate()
    for product in ("BTC-USD", "ETH-USD"):
        store.record_pages(as_pages(walk(product, SPAN.minutes, start=T0, missing=0.02), SPAN))
    store.publish(paths.market_copy)
    return paths.home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_HOME", str(home))


def asked(*arguments: str, typed: str | None = None) -> str:
    app = typer.Typer()
    app.command()(command.sql)
    result = CliRunner().invoke(app, arguments, input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_csv_has_header_and_every_row_whatever_the_table_limit() -> None:
    rows = list(csv.DictReader(io.StringIO(asked("from candles_1m where product = 'BTC-USD'", "--format", "csv"))))
    assert len(rows) > 600
    assert rows[0]["open_time"] == "2025-03-01 00:00:00+00:00"


def test_csv_of_no_rows_still_names_its_columns() -> None:
    assert asked("select product, close from candles_1m where false", "--format", "csv") == "product,close\n"


def test_json_is_one_list_with_numbers_and_iso_times() -> None:
    rows = json.loads(asked("select open_time, close from candles('BTC', '1h')", "--format", "json"))
    assert len(rows) == 12
    assert datetime.fromisoformat(rows[0]["open_time"]) == T0
    assert isinstance(rows[0]["close"], float)
    assert json.loads(asked("select 1 where false", "--format", "json")) == []
    assert json.loads(asked("select cast('1234567890.12345678' as decimal(18,8)) as x", "--format", "json"))


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert asked("select 'a|b' as x", "--format", "markdown") == "| x |\n|---|\n| a\\|b |\n"


def test_table_says_that_there_are_more_rows() -> None:
    app = typer.Typer()
    app.command()(command.sql)
    result = CliRunner().invoke(app, ["from candles_1m", "--limit", "3"])
    assert len(result.stdout.splitlines()) == 4
    assert "the first 3 rows; there are more" in " ".join(result.stderr.split())
    assert "read copy of market" in result.stderr


def test_parameters_stand_for_names_in_the_sql() -> None:
    text = asked(
        "from candles($coin, $every) limit $n", "-p", "coin=eth", "-p", "every=4h", "-p", "n=2", "--format", "csv"
    )
    assert [row["product"] for row in csv.DictReader(io.StringIO(text))] == ["ETH-USD"] * 2
    with pytest.raises(ConfigError, match="name=value"):
        asked("select 1", "-p", "coin")


def test_sql_comes_from_a_pipe_a_file_or_the_name_of_a_question(tmp_path: Path) -> None:
    (tmp_path / "mine.sql").write_text("select 43 as x")
    assert asked("--format", "csv", typed="select 42 as x;") == "x\n42\n"
    assert asked("-f", str(tmp_path / "mine.sql"), "--format", "csv") == "x\n43\n"
    assert asked("coverage_by_product", "--format", "csv").startswith("product,")
    with pytest.raises(ConfigError, match="cannot be read"):
        asked("-f", str(tmp_path / "none.sql"))


def test_parquet_holds_the_rows(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    target = tmp_path / "hours.parquet"
    asked("from candles($coin, '1h')", "-p", "coin=BTC", "--parquet", str(target))
    assert pq.read_table(target).num_rows == 12
    for text in ("select interval 1 hour as x", "select if(range = 5000, error('late'), 1) as x from range(10_000)"):
        with pytest.raises(StoreError, match=r"Parquet|late"):
            asked(text, "--parquet", str(target))
    assert pq.read_table(target).num_rows == 12
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("from candels_1m", "no table, view or macro candels_1m; near it: candles_1m"),
        ("drop table candles_1m", "DROP is refused: only statements that read run here"),
        ("create temp table mine as select 1", "keep rows with --parquet FILE or --format csv"),
        ("from 'mine.csv'", "mine.csv is not read: name a Parquet, CSV or JSON file of yours with --read mine.csv"),
        ("pivot candles_1m on product", "with its values named"),
        ("select '\ud800'", "no UTF-8 text"),
        ("/* only words */", "there is no SQL to run"),
        ("selec 1", "syntax error"),
        ("select foo from candles_1m", 'Candidate bindings: "low"'),
        ("from decisions", "signals database, which is not published yet; run: make run-dry"),
        ("from signal_log()", "signals database, which is not published yet"),
        ("from features_at('BTC', now)", "now()"),
        ("from candles('BTC', '10s')", "whole minutes up to a week"),
        ("from candles('DOGE')", "no candle of DOGE-USD, only of BTC-USD, ETH-USD"),
    ],
)
def test_mistake_is_one_line_that_names_the_repair(text: str, words: str) -> None:
    with pytest.raises(StoreError) as caught:
        asked(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_an_option_names_is_read(tmp_path: Path, home: Path) -> None:
    mine = tmp_path / "it's 5% of mine.csv"
    mine.write_text("product,weight\nBTC-USD,3\n")
    quoted = str(mine).replace("'", "''")
    text = f"select product, max(weight) as w from '{quoted}' join candles_1m using (product) group by all"
    assert asked(text, "--read", str(mine), "--format", "csv") == "product,w\nBTC-USD,3\n"
    (tmp_path / "link.csv").symlink_to(Paths(home).market_db)
    (tmp_path / "same.csv").hardlink_to(Paths(home).market_db)
    for file in (Paths(home).market_db, tmp_path / "link.csv", tmp_path / "same.csv", tmp_path / "none.csv", tmp_path):
        with pytest.raises(StoreError, match="--read"):
            asked("select 1", "--read", str(file))


HOSTILE = (Path(__file__).parent / "hostile_sql.txt").read_text(encoding="utf-8").splitlines()[1:]


@pytest.fixture(scope="module")
def attacked(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[command.Reader, dict[str, Path]]]:
    """One session for all, as at the prompt, which may read one file."""
    folder = tmp_path_factory.mktemp("files")
    paths = Paths(home)
    files = {"live": paths.market_db, "copy": paths.market_copy, "out": folder / "out", "home": home}
    for name in ("draft", "secret"):
        files[name] = folder / f"{name}.csv"
        files[name].write_text("word\nhush\n")
    with command.Reader(paths, [files["draft"]]) as reader:
        yield reader, files


@pytest.mark.parametrize("line", HOSTILE)
def test_hostile_statement_is_refused_and_changes_nothing(
    line: str, attacked: tuple[command.Reader, dict[str, Path]]
) -> None:
    reader, files = attacked
    kept = {file: file.read_bytes() for file in files.values() if file.is_file()}
    for name, file in files.items():
        line = line.replace(f"{{{name}}}", str(file))
    with pytest.raises(StoreError) as refused:
        reader.sql(line)
    with pytest.raises(StoreError):
        reader.write_parquet(line, files["out"])
    assert "hush" not in str(refused.value)
    assert {file: file.read_bytes() for file in files.values() if file.is_file()} == kept
    assert not list(files["out"].parent.glob("*out*"))
    assert reader.sql("select count(*) > 0 as whole from candles_1m") == [{"whole": True}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("select " + "(" * 5_000, "more than 100 brackets"),
        ("select * from " + "(select * from " * 3_000, "more than 100 brackets"),
        ("select " + "abs(" * 101 + "1" + ")" * 101, "more than 100 brackets"),
        ("select $$'$$, e'\\'', '--', " + "[" * 5_000, "more than 100 brackets"),
        ("select '" + "x" * 300_000 + "'", "more than 262,144"),
        ("/*" * 100_000, "no SQL|unterminated|syntax"),
        ("select " + "1+" * 50_000 + "1", "depth limit"),
    ],
)
def test_text_beyond_its_bounds_is_refused_at_once(
    attacked: tuple[command.Reader, dict[str, Path]], text: str, words: str
) -> None:
    started = time.process_time()
    with pytest.raises(StoreError, match=words):
        attacked[0].sql(text)
    assert time.process_time() - started < 2


def test_brackets_within_bounds_and_those_in_literals_are_answered(
    attacked: tuple[command.Reader, dict[str, Path]],
) -> None:
    assert attacked[0].sql("select " + "abs(" * 100 + "1" + ")" * 100 + " as x") == [{"x": 1}]
    for literal in (f"'{'(' * 200}'", f"$${'(' * 200}$$"):
        assert attacked[0].sql(f'select length({literal}) as "{"(" * 200}" -- {"(" * 200}') == [{"(" * 200: 200}]


def test_what_does_not_fit_into_memory_spills_below_the_home_and_goes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("store.reader._MEMORY_MB", 60)
    with command.Reader(Paths(home)) as reader:
        _, rows = reader.stream("select range as n, random() as r from range(10_000_000) order by r")
        next(rows)
        (spilled,) = home.glob(".candledesk-spill-*/duckdb")
        assert list(spilled.iterdir())
    assert not spilled.parent.exists()
    assert not list(tmp_path.iterdir())


def test_readers_open_a_copy_that_nobody_may_write(home: Path) -> None:
    assert stat.filemode(Paths(home).market_copy.stat().st_mode) == "-r--r--r--"


@pytest.mark.parametrize(
    ("text", "words"), [("", "no SQL"), (" -- only words", "no SQL"), ("longest_gap", "near it: longest_gaps")]
)
def test_nothing_to_run_is_refused_with_what_there_is(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        asked(text)


def test_no_copy_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_HOME", str(tmp_path / "empty"))
    with pytest.raises(StoreError, match="run: make backfill"):
        asked("select 1")


def test_pipe_that_is_closed_early_ends_without_a_word(home: Path) -> None:
    words = [sys.executable, "-m", "desk", "sql", "from candles_1m", "--format", "csv"]
    environ = os.environ | {"DESK_HOME": str(home)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_ctrl_c_ends_a_question_in_one_line(home: Path) -> None:
    text = "select count(*) from range(10_000_000_000) a, range(1_000) b where (a.range * b.range) % 7 = 3"
    words = [sys.executable, "-m", "desk", "sql", "-f", "/dev/stdin"]
    environ = os.environ | {"DESK_HOME": str(home)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=ROOT, env=environ, text=True, **pipes) as process:
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        # it has read the question: now it is asking
        while process.poll() is None and not _reads(process.pid, "market_read.duckdb"):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == "desk: interrupted\n"


def _reads(pid: int, name: str) -> bool:
    return any(link.readlink().name == name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())


def test_home_that_cannot_be_written_is_read_all_the_same(home: Path) -> None:
    home.chmod(0o555)
    try:
        assert asked("select 1 as x", "--format", "csv") == "x\n1\n"
    finally:
        home.chmod(0o755)


def test_table_wider_than_the_terminal_repeats_its_keys() -> None:
    columns = ["product", "open_time", *(f"column_{n}" for n in range(10))]
    widths = [10, 18, *[14] * 10]
    blocks = command.column_blocks(columns, widths, 80)
    assert all(block[:2] == [0, 1] for block in blocks)
    assert [place for block in blocks for place in block[2:]] == list(range(2, 12))
    assert all(sum(widths[place] for place in block) <= 80 for block in blocks)


def test_few_rows_wider_than_the_terminal_are_one_value_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("NO_COLOR", "1")
    command.print_rows(["product", "close"], iter([("BTC-USD", 5.5), ("ETH-USD-AND-MORE", None)]), "table", None)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert [line.split() for line in lines if line] == [
        *(["product", "BTC-USD"], ["close", "5.5"]),
        *(["product", "ETH-USD-AND"], ["-MORE"], ["close"]),
    ]


def test_prompt_answers_goes_on_after_a_mistake_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["select 40", "+ 2 as x;", "from nowhere;", "quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    with command.Reader(command.load_settings().paths) as reader:
        command._prompt(reader)
    told = capsys.readouterr()
    assert "42" in told.out
    assert "no table, view or macro nowhere" in told.err


def documented() -> list[list[str]]:
    section = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("## Asking the data")[2]
    block = section.partition("```sh")[2].partition("```")[0]
    return [shlex.split(line, comments=True)[2:] for line in block.splitlines() if line]


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_example_of_the_docs_runs(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "--read" in words:
        asked("from candles('BTC', '1h')", "--parquet", "hours.parquet")
    told = asked(*words)
    assert told.strip() or (tmp_path / "hours.parquet").exists()


def test_docs_show_every_macro_of_the_market() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    macros = [name for name, (folder, _) in objects("market").items() if folder == "macros"]
    assert [name for name in macros if name not in text] == []


def test_every_macro_example_of_help_runs_as_it_stands() -> None:
    examples = json.loads(asked("select name, example from help where kind = 'macro'", "--format", "json"))
    assert len(examples) >= 7
    for row in examples:
        assert row["name"] in row["example"]
        asked(row["example"])
