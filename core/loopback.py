"""Say which requests a server on loopback answers: those that name this machine as Host, and that no web page made.

A web page can make a browser ask loopback. It cannot leave out its Origin where the answer could be read, and a name of
its own that it points at 127.0.0.1 stays in Host.
"""

from __future__ import annotations

LOOPBACK = "127.0.0.1"
_NAMES = frozenset({LOOPBACK, "localhost", "[::1]"})


def is_loopback_host(header: str) -> bool:
    """Return whether a Host header, with or without a port, names this machine; an empty one does not."""
    name = header if header.endswith("]") else header.rpartition(":")[0] or header
    return name.lower() in _NAMES
