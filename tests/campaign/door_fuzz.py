"""Feed every reader of bytes from outside what is nearly right, and hold it to an answer or an error made on purpose.

Run: ``python -m tests.campaign.door_fuzz --examples 1000 --seed 1``; the everyday run takes some dozens of each kind. The doors:
answers of an exchange, the registry, passports and candidates, the kill-switch file, ``.env``, and SQL that a person typed. What
is promised: no error but one made on purpose, whose text holds no secret; no file changed; bounded memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from contextlib import contextmanager, suppress
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, strategies

from core.candles import Span
from core.errors import DeskError
from core.settings import Paths, Settings, load_settings
from market.providers.bounded_body import json_object
from market.providers.coinbase_wire import candles_in, exchange_time
from models.registry.events import RegistryEvent, as_file, read_events
from models.serving.passport import Passport
from models.training.candidate import TrainedCandidate
from runtime.risk.kill_switch import KillSwitch
from store.feature_store import FeatureStore
from store.reader import Reader
from tests.campaign.import_fuzz import how

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests" / "golden" / "judged_model"
T0 = datetime(2024, 3, 28, 12, 0, tzinfo=UTC)
SECRET = "hush-hush-hush"
MOST_GROWTH_MB = 512
ODD_BYTES = (
    *(b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"'", b'"', b"\\", b"{", b"}", b"]", b",", b"NaN", b"1e999"),
    *(b"[" * 3_000, b'{"a":' * 3_000, b"9" * 5_000, b"\\ud800", b"$(id)", b"../..", b"=", b"#", b"A" * 100_000),
)
ODD_VALUES = (
    *(None, True, 0, -1, 1.5, 10**30, float("inf"), "", "x", "\ud800", "\x00", "../../x", "²", "9999-12-31T23:59:59"),
    *([], {}, [[]], {"state": "off"}, [None] * 50, "x" * 10_000),
)
ENVIRONMENT = (
    f"MODE=dryrun\nPRODUCTS=BTC-USD,ETH-USD\nKILL_SWITCH=off\nALERT_URLS=json://127.0.0.1/{SECRET}\nEPOCHS=3\n"
)
SQL_WORDS = (
    *(
        "select",
        "from",
        "candles_1m",
        "market.candles_1m",
        "*",
        "1",
        "x",
        "as",
        "where",
        "(",
        ")",
        ",",
        ";",
        "with",
        "t",
    ),
    *("insert into", "delete from", "copy", "to", "attach", "'out'", "'{copy}'", "set", "pragma", "explain", "analyze"),
    *("drop table", "create table", "read_csv('{copy}')", "query('select 1')", "union all", "pivot", "--", "/*", "*/"),
    *("'", '"', "$$", "e'", "\\", "\x00", "\ud800", "[", "]", "{", "::json", "range(9)", "values", "describe", "call"),
)

Door = tuple["strategies.SearchStrategy[Any]", "Callable[[Any], None]"]


@strategies.composite
def odd_bytes(draw: strategies.DrawFn, content: bytes) -> bytes:
    """``content`` cut, or with odd bytes put somewhere, up to three times."""
    for _ in range(draw(strategies.integers(1, 3))):
        first = draw(strategies.integers(0, len(content)))
        last = draw(strategies.integers(first, min(first + 20, len(content))))
        content = content[:first] + draw(strategies.sampled_from(ODD_BYTES)) + content[last:]
        if draw(strategies.integers(0, 9)) == 0:
            content = content[: draw(strategies.integers(0, len(content)))]
    return content


@strategies.composite
def odd_json(draw: strategies.DrawFn, content: bytes) -> bytes:
    """The JSON in ``content`` with up to three of its values exchanged or left out."""
    tree = json.loads(content)
    for _ in range(draw(strategies.integers(1, 3))):
        node = tree
        while True:
            key = draw(strategies.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if not (isinstance(node[key], dict | list) and node[key]) or draw(strategies.booleans()):
                break
            node = node[key]
        if isinstance(node, dict) and len(node) > 1 and draw(strategies.integers(0, 4)) == 0:
            del node[key]
        else:
            node[key] = deepcopy(draw(strategies.sampled_from(ODD_VALUES)))
        if not tree:
            break
    return json.dumps(tree).encode()


def odd(content: bytes) -> strategies.SearchStrategy[bytes]:
    """What is nearly the JSON ``content``."""
    return strategies.one_of(odd_bytes(content), odd_json(content))


def answered_or_refused(work: Callable[[], object], *expected: type[Exception]) -> None:
    """Do the work; nothing may come out of it but its result or an error made on purpose, without a secret in it."""
    text = None
    try:
        work()
    except (DeskError, *expected) as error:
        text = str(error)
    assert text is None or (text.strip() and "Traceback" not in text and SECRET not in text), text


def doors(folder: Path) -> dict[str, Door]:
    """Return each door's strategy and check; they keep their files in ``folder``."""
    switch_file, registry_file = folder / "kill_switch.json", folder / "registry.json"
    KillSwitch(switch_file).press("a test", T0)
    switch = switch_file.read_bytes()
    words = (("promotion", "lstm:BTC-USD", "lstm-1", "a test", "it passed"), ("refusal", "", "lstm-2", "a test", "no"))
    events = [RegistryEvent(str(number), T0, *texts) for number, texts in enumerate(words)]
    passport, marker = (MODEL / "passport.json").read_bytes(), (MODEL / "candidate.json").read_bytes()
    row = dict.fromkeys(("open", "high", "low", "close", "volume"), "1.5") | {"start": str(int(T0.timestamp()))}
    answer = json.dumps({"candles": [row] * 3, "iso": T0.isoformat(), "epochSeconds": 1}).encode()

    def press(content: bytes) -> None:
        switch_file.write_bytes(content)
        KillSwitch(switch_file).state()
        KillSwitch(switch_file).history()
        assert switch_file.read_bytes() == content
        assert KillSwitch(switch_file).press("now").is_on
        assert KillSwitch(switch_file).state().is_on
        for kept in folder.glob("kill_switch.json.unreadable-*"):
            kept.unlink()

    def registry(content: bytes) -> None:
        registry_file.write_bytes(content)
        answered_or_refused(lambda: read_events(registry_file))
        assert registry_file.read_bytes() == content

    def exchange(content: bytes) -> None:
        if (parsed := json_object(content)) is not None:
            window = Span(T0, T0 + timedelta(minutes=300))
            answered_or_refused(lambda: candles_in(parsed, "BTC-USD", window, T0 + timedelta(days=1)))
            answered_or_refused(lambda: exchange_time(parsed))

    return {
        "kill switch": (odd(switch), press),
        "registry": (odd(as_file(events)), registry),
        "passport": (odd(passport), lambda content: answered_or_refused(lambda: Passport.parse(content, folder / "p"))),
        "candidate": (
            odd(marker),
            lambda content: answered_or_refused(lambda: TrainedCandidate.parse(content), ValueError),
        ),
        "answer": (odd(answer), exchange),
        ".env": (odd_bytes(ENVIRONMENT.encode()), lambda content: _check_environment(folder / ".env", content)),
    }


def _check_environment(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    before, Settings.model_config["env_file"] = Settings.model_config.get("env_file"), file
    try:
        answered_or_refused(load_settings)
    finally:
        Settings.model_config["env_file"] = before
    assert file.read_bytes() == content


@contextmanager
def sql_door(home: Path) -> Iterator[Door]:
    """Yield the door of typed SQL, with a session on a published store below ``home`` that must stay as it is."""
    paths = Paths(home).make()
    store = FeatureStore(paths.market_db)
    store.migrate()
    store.publish(paths.market_copy)
    words = [word.replace("{copy}", str(paths.market_copy)) for word in SQL_WORDS]
    texts = strategies.lists(strategies.sampled_from(words), min_size=1, max_size=14).map(" ".join)
    with Reader(paths) as reader:

        def files() -> dict[Path, tuple[int, int]]:
            return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in home.rglob("*") if path.is_file()}

        before = files()

        def ask(text: str) -> None:
            answered_or_refused(lambda: reader.sql(text))
            assert files() == before, text

        yield texts, ask


def check_doors(count: int, number: int, folder: Path) -> list[str]:
    """Try ``count`` examples at each door, all decided by the seed ``number``; return the names of the doors.

    Raises:
        AssertionError: a promise is broken; hypothesis shows the smallest example it found.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    home = folder / "home"
    with sql_door(home) as sql:
        all_doors = doors(folder) | {"SQL": sql}
        for strategy, check in all_doors.values():
            how(count, number)(given(strategy)(check))()
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    assert growth < MOST_GROWTH_MB, f"{growth} MB more memory than before"
    return list(all_doors)


def main() -> int:
    """Run and print what was tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.door_fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000, help="of each door (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides every example (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="candledesk-fuzz-") as folder, suppress(KeyboardInterrupt):
        names = check_doors(options.examples, options.seed, Path(folder))
        print(f"{options.examples} examples at each of: {', '.join(names)}; every one answered or refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
