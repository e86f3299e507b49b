from datetime import timedelta

import pytest

from core.errors import StoreError
from core.settings import load_settings
from reports.observation.record import read_extent, read_record


def test_read_extent_of_three_days_counts_them(observed):
    extent = read_extent(observed)
    assert extent.days == 3
    assert extent.products == ("BTC-USD", "ETH-USD", "SOL-USD")


def test_read_record_of_a_whole_observation_decides_every_minute(observed):
    record = read_record(observed)
    assert (record.expected_minutes, record.decided_minutes, record.missed_minutes) == (4320, 4320, 0)
    assert record.clean_minutes == 4320
    assert record.last_reset is None


def test_read_record_of_one_day_holds_only_that_day(observed):
    record = read_record(observed, 1)
    assert record.expected_minutes == 1440
    assert record.since == record.extent.since + timedelta(days=1)
    assert all(record.since <= row.open_time < record.until for row in record.signals)


def test_read_record_with_missing_minutes_counts_them(fake_observation):
    record = read_record(fake_observation(minutes=120, missing=(5, 6, 7)))
    assert record.missed_minutes == 3


def test_read_record_after_a_crash_restarts_the_clock(fake_observation):
    record = read_record(fake_observation(minutes=120, crash_at=90))
    assert record.restarts == 1
    assert record.last_reset.cause.startswith("the crash of")
    assert record.clean_minutes == 30


def test_read_record_without_an_end_of_the_newest_session_is_open_and_no_crash(fake_observation):
    record = read_record(fake_observation(minutes=30, is_open=True))
    assert record.is_open
    assert record.resets == ()


def test_read_record_of_a_day_never_reached_names_the_command(observed):
    with pytest.raises(StoreError, match=r"make observe-daily DAY=day2"):
        read_record(observed, 7)


def test_read_extent_without_an_observation_names_the_command(tmp_path, observed):
    empty = load_settings(desk_home=tmp_path, _env_file=None)
    with pytest.raises(StoreError, match="run: make"):
        read_extent(empty)
