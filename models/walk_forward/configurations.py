"""Configurations to compare: changes to a preset, from a TOML file or from ``name=value`` words."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from models.training.spec import TrainSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PRESET = "preset"
"""The word for a configuration without any change."""
_TYPES = {field.name: field.type for field in fields(TrainSpec) if field.name not in {"architecture", "products"}}
_EXAMPLE = "[[configuration]] with a line such as learning_rate = 0.001 for each"


def parsed(words: Sequence[str], file: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return name -> changes of every configuration, those of the file first; the preset alone if there is none.

    Args:
        words: Each one configuration: ``learning_rate=0.001,dropout=0.2``, or ``preset`` for no change.
        file: TOML with a table ``[[configuration]]`` for each, ``name`` being its name if it is there.

    Raises:
        ConfigError: the file cannot be read, a field is unknown or not a number, or two configurations are the same.
    """
    told = _from_file(file) if file is not None else []
    told += [(None, _from_words(word)) for word in words]
    found: dict[str, dict[str, Any]] = {}
    for name, changes in told or [(PRESET, {})]:
        clean = {key: _value(key, value) for key, value in changes.items()}
        label = name or ", ".join(f"{key}={value:g}" for key, value in clean.items()) or PRESET
        if label in found or clean in found.values():
            msg = f"the configuration {label} is there twice; a trial counted twice is no second trial, leave one out"
            raise ConfigError(msg)
        found[label] = clean
    return found


def _from_file(path: Path) -> list[tuple[str | None, Mapping[str, Any]]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"the configurations {path} cannot be read ({error}); write {_EXAMPLE}"
        raise ConfigError(msg) from error
    tables = content.get("configuration")
    if set(content) != {"configuration"} or not isinstance(tables, list) or not tables:
        msg = f"the configurations {path} hold {', '.join(content) or 'nothing'}, not tables named configuration; write {_EXAMPLE}"
        raise ConfigError(msg)
    return [
        (str(table["name"]) if "name" in table else None, {key: table[key] for key in table if key != "name"})
        for table in tables
    ]


def _from_words(text: str) -> dict[str, Any]:
    if text.strip() == PRESET:
        return {}
    changes = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            msg = f"--set {text!r}: {part!r} is not name=value; write for example --set learning_rate=0.001,dropout=0.2, or --set {PRESET}"
            raise ConfigError(msg)
        changes[name.strip()] = value.strip()
    return changes


def _value(name: str, value: object) -> int | float:
    if name not in _TYPES:
        msg = f"{name!r} is nothing a training can be told; it can be told {', '.join(sorted(_TYPES))}"
        raise ConfigError(msg)
    kind = int if _TYPES[name] == "int" else float
    is_number = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        number = kind(str(value)) if is_number else None
    except ValueError:
        number = None
    if number is None:
        msg = f"{name} is {value!r}, it must be {'a whole number' if kind is int else 'a number'}"
        raise ConfigError(msg)
    return number
