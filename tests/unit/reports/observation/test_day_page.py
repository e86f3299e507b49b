import re

import pytest

from core.errors import StoreError
from reports.observation.day_page import daily_document, observation_days, write_daily
from reports.observation.record import read_record


@pytest.fixture(scope="module")
def day_one(observed):
    return write_daily(observed, 1)


def test_observation_days_of_the_fixture_is_three(observed):
    assert observation_days(observed) == 3


def test_write_daily_writes_markdown_page_and_pictures(day_one):
    assert day_one.name == "day1.md"
    assert day_one.with_suffix(".html").exists()
    for name in re.findall(r"\]\((plots/[^)]+)\)", day_one.read_text()):
        assert (day_one.parent / name).stat().st_size > 1000


def test_write_daily_names_the_day_the_mode_and_a_simulated_market(day_one):
    text = day_one.read_text()
    assert "Day 1: Tuesday, 04 March 2025" in text
    assert "planted (simulated)" in text
    assert "mode dryrun" in text


def test_write_daily_figures_are_those_of_the_database(observed, day_one):
    record = read_record(observed, 1)
    text = day_one.read_text()
    assert f"| signals | **{len(record.signals)}** |" in text
    assert "| minutes decided | **100.00 %** | 0 missed |" in text


def test_write_daily_without_a_signal_says_so_and_counts_the_reasons(fake_observation):
    settings = fake_observation(minutes=60, promoted=())
    text = write_daily(settings, 0).read_text()
    assert "Nothing was signalled on this day" in text
    assert "no promoted model for the product: 180 decisions" in text
    assert "make train" in text


def test_daily_document_of_a_day_with_a_crash_says_so(fake_observation):
    settings = fake_observation(minutes=60, crash_at=30)
    document = daily_document(read_record(settings, 0), settings, 0)
    page = document.html()
    assert "crashed" in page
    assert "clock restarted by the crash of" in page


def test_write_daily_of_a_day_never_reached_is_refused(observed):
    with pytest.raises(StoreError, match="day 9 was not observed"):
        write_daily(observed, 9)
