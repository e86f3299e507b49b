import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from core.errors import StoreError
from core.settings import load_settings
from reports.observation.exit_evidence import LimitProof, Standing
from reports.observation.terminal import verdict_table
from reports.observation.verdict_page import ARTIFACT_BYTES, QUERIES, read_summary, write_summary
from store.reader import Reader

PROOFS = (LimitProof("daily", True, "stopped at 4.5 %"), LimitProof("total", True, "stopped at 9 %"))


@pytest.fixture(scope="module")
def summary(observed):
    return write_summary(observed, PROOFS)


def test_write_summary_writes_every_file(summary):
    assert all(
        path.stat().st_size > 500 for path in (summary.html, summary.markdown, summary.json, summary.artifact_markdown)
    )


def test_write_summary_headline_names_the_simulated_market(summary):
    assert "market: planted (simulated)" in summary.headline
    assert "planted (simulated)" in summary.html.read_text()


def test_write_summary_page_is_self_contained(summary):
    page = summary.html.read_text()
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"'#][^"']*)""", page)
    assert [link for link in links if not link.startswith("data:")] == []
    assert "@import" not in page and "url(http" not in page and "<script" not in page


def test_write_summary_page_has_no_id_twice(summary):
    class Ids(HTMLParser):
        def __init__(self):
            super().__init__()
            self.seen = []

        def handle_starttag(self, tag, attrs):
            self.seen += [value for name, value in attrs if name == "id"]

    parser = Ids()
    parser.feed(summary.html.read_text())
    assert len(parser.seen) == len(set(parser.seen)) > 0


def test_write_summary_json_repeats_the_verdict(summary, observed):
    content = json.loads(summary.json.read_text())
    assert content["verdict"] == summary.verdict.word
    assert content["minutes"]["decided"] == 4320
    assert len(content["criteria"]) == 7


def test_read_summary_returns_what_was_written(summary, observed):
    assert read_summary(observed) == summary


def test_read_summary_takes_a_file_of_an_older_version(summary, tmp_path):
    content = json.loads(summary.json.read_text())
    assert content.pop("version") == 1
    old = load_settings(desk_home=tmp_path, _env_file=None)
    old.paths.make()
    (old.paths.observation / "summary.json").write_text(json.dumps(content))
    assert read_summary(old).verdict == summary.verdict


@pytest.mark.parametrize("content", [None, "{", '{"verdict": "GO"}', "[]"])
def test_read_summary_without_a_whole_file_names_the_command(tmp_path, content):
    empty = load_settings(desk_home=tmp_path, _env_file=None)
    empty.paths.make()
    if content is not None:
        (empty.paths.observation / "summary.json").write_text(content)
    with pytest.raises(StoreError, match="make observe-daily"):
        read_summary(empty)


def test_write_summary_lists_the_refused_product_with_its_gates(summary):
    text = summary.markdown.read_text()
    assert "SOL-USD: refused" in text
    assert "accuracy, brier_skill" in text


def test_write_summary_artifact_holds_its_pictures_and_stays_small(summary):
    text = summary.artifact_markdown.read_text()
    assert len(text.encode()) <= ARTIFACT_BYTES
    assert text.count("data:image/png;base64,") >= 6
    assert "](plots/" not in text


def test_write_summary_twice_gives_the_same_page(observed, summary):
    before = summary.html.read_bytes()
    assert write_summary(observed, PROOFS).html.read_bytes() == before


def test_write_summary_in_shadow_is_no_go_and_says_so(fake_observation):
    summary = write_summary(fake_observation(minutes=300, mode="shadow", promoted=()), PROOFS)
    assert summary.verdict.word == "NO-GO"
    assert "ran in shadow" in summary.html.read_text()


def test_write_summary_of_a_few_silent_minutes_says_why_each_plot_is_empty(fake_observation):
    settings = fake_observation(minutes=20, promoted=(), baseline_win_rate=None)
    for path in settings.paths.checkpoints.glob("*/passport.json"):
        path.unlink()
    page = write_summary(settings, PROOFS).html.read_text()
    for reason in ("no model was judged", "no minute was scored", "no signal has closed", "no signal was made"):
        assert reason in page


@pytest.mark.parametrize("query", [query for _, query in QUERIES])
def test_queries_worth_trying_run(observed, query):
    with Reader(observed.paths) as reader:
        assert reader.sql(query)


def test_verdict_table_shows_verdict_criteria_and_products(summary):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(verdict_table(summary))
    text = console.export_text()
    for part in (summary.verdict.word, "Win rate near its baseline", "SOL-USD"):
        assert part in text


def test_verdict_table_of_80_columns_says_each_refusal_once_and_breaks_no_word(summary):
    console = Console(width=80, record=True, file=io.StringIO())
    refused = Standing(
        "SOL-USD", (), {"transformer-all-152dbd4a318b-daafe0fa": ("accuracy_above_base_rate", "brier_skill")}
    )
    verdict = replace(
        summary.verdict, word="NO-GO", standings=(refused,), reasons=(f"SOL-USD: {refused.reason}", "too few hours")
    )
    console.print(verdict_table(replace(summary, verdict=verdict)))
    text = console.export_text()
    assert "- too few hours" in text
    words = ("transformer-all-152dbd4a318b-daafe0fa", "accuracy_above_base_rate", "brier_skill")
    assert [text.count(word) for word in words] == [1, 1, 1]
