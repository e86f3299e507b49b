"""Readers beside a writer: no error, no wait for a lock, no torn answer. The long form: python -m benchmarks.readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import readers

if TYPE_CHECKING:
    from pathlib import Path


def test_readers_beside_a_writer_meet_no_error_and_no_torn_copy(tmp_path: Path) -> None:
    readers.prepare(tmp_path, 4)
    outcome = readers.measure(tmp_path, readers=1, seconds=1.5, first_page=4)
    assert outcome.commits > 0
    assert outcome.copies > 0
    for tally in outcome.tallies:
        assert tally.milliseconds, tally.way
        assert not tally.errors, tally
        assert tally.wrong == 0, tally


def test_failed_questions_and_locks_are_counted(tmp_path: Path) -> None:
    tally = readers.ask(tmp_path, readers.WAYS[0], 0.05)
    assert sum(tally.errors.values()) == len(tally.milliseconds) > 0
    assert tally.lock_errors == 0
    tally.errors["IOException: Could not set lock on file"] += 3
    assert tally.lock_errors == 3


def test_hole_in_a_copy_is_a_wrong_answer(tmp_path: Path) -> None:
    paths = readers.prepare(tmp_path, 1)
    store = readers.FeatureStore(paths.market_db)
    store.record_pages([readers.page(2)])
    store.publish(paths.market_copy)
    tally = readers.ask(tmp_path, readers.WAYS[1], 0.05)
    assert tally.wrong > 0
    assert not tally.errors
