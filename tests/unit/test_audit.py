"""`make check` asks for known faults: a fault fails, no network does not."""

import json

from tests.audit import verdict


def test_known_fault_fails_and_is_named():
    fault = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"]}
    text = json.dumps({"dependencies": [{"name": "thing", "version": "1.0", "vulns": [fault]}]})
    status, lines = verdict(text, "")
    assert status == 1
    assert lines[0] == "thing 1.0: PYSEC-2026-1, mended in 1.1"


def test_packages_that_could_not_be_asked_for_are_counted():
    skipped, asked = {"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "1", "vulns": []}
    status, lines = verdict(json.dumps({"dependencies": [skipped, asked]}), "")
    assert (status, lines) == (0, ["pip-audit: 1 of 2 packages could be asked for, 0 known faults"])


def test_no_network_is_one_line_and_no_failure():
    assert verdict("", "Traceback\nConnectionError: no route") == (
        0,
        ["pip-audit: nothing was asked (ConnectionError: no route)"],
    )
