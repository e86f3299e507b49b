"""Import the libraries behind the optional providers only when they are chosen."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from core.errors import ConfigError

EXTRAS = ("ccxt", "yfinance")
"""Providers whose library is an extra of the same name."""


def install_command(name: str) -> str:
    """Return the command that installs the extra ``name``."""
    return f".venv/bin/pip install -c constraints.txt -e '.[{name}]'"


def is_installed(name: str) -> bool:
    """Whether the library of the extra ``name`` is there; it is not imported."""
    try:
        return find_spec(name) is not None
    except ValueError:
        # what stands in sys.modules under that name is no module
        return False


def extra(name: str, module: str, setting: str = "PROVIDER") -> Any:  # noqa: ANN401  # the libraries behind the extras carry no types
    """Import ``module``, which the extra ``name`` installs; ``setting`` is the one that asked for it.

    Raises:
        ConfigError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = (
            f"{setting}={name} needs the extra {name}, which cannot be imported ({error}); "
            f"install it: {install_command(name)}"
        )
        raise ConfigError(msg) from error
