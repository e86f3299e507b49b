"""Files written whole or not at all."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from core.errors import ModelError
from core.files import read_json, write_bytes, write_json
from core.integrity import sha256_of
from core.version import commit


def test_write_bytes_replaces_and_leaves_nothing_beside(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_write_that_dies_before_the_switch_leaves_the_old_file(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_write_json_refuses_a_figure_that_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"accuracy": float("nan")})


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_read_json_of_anything_but_an_object_names_the_file(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ModelError, match=r"a\.json.*make train"):
        read_json(tmp_path / "a.json")


def test_sha256_of_a_large_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert sha256_of(tmp_path / "a") == sha256(b"x" * 3_000_000).hexdigest()


def test_commit_outside_git_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr("core.version._git", lambda *_: None)
    commit.cache_clear()
    assert commit() == "unknown"
    commit.cache_clear()
