"""Take an answer's body in, chunk by chunk, and refuse one that is larger than any honest answer before it fills the memory."""

from __future__ import annotations

import json
import zlib
from decimal import Decimal
from typing import Any, ClassVar

MAX_BYTES = 4 << 20
"""Of one answer, unpacked: 350 candles are 50 kB, the list of all of Coinbase's products under 2 MB."""
MAX_ROWS = 5_000
"""Candles of one answer: fourteen times the most that Coinbase gives."""


class BoundedBody:
    """The body of one answer, unpacked here, where a packed chunk cannot grow beyond what is left."""

    ENCODINGS: ClassVar[str] = "gzip, deflate"
    """What to accept: those that can be unpacked bit by bit."""

    def __init__(self, encoding: str, max_bytes: int = MAX_BYTES) -> None:
        """Begin an empty body of a ``content-encoding``.

        Raises:
            ValueError: it is packed in another way than was accepted.
        """
        self._parts: list[bytes] = []
        self._left = max_bytes
        self._max = max_bytes
        self._unpacker = None
        if (name := encoding.strip().lower()) in ("gzip", "x-gzip", "deflate"):
            self._unpacker = zlib.decompressobj(zlib.MAX_WBITS if name == "deflate" else zlib.MAX_WBITS | 16)
        elif name not in ("", "identity"):
            msg = f"its content-encoding {name[:40]!r} was not accepted"
            raise ValueError(msg)

    def add(self, chunk: bytes) -> None:
        """Take the next bytes as they came over the wire.

        Raises:
            ValueError: the body is too long, or cannot be unpacked.
        """
        if self._unpacker is not None:
            try:
                chunk = self._unpacker.decompress(chunk, self._left + 1)
            except zlib.error as error:
                msg = f"its body cannot be unpacked ({error})"
                raise ValueError(msg) from None
        self._left -= len(chunk)
        if self._left < 0:
            msg = f"its body is longer than {self._max:,} bytes, which no answer of an exchange is"
            raise ValueError(msg)
        self._parts.append(chunk)

    def whole(self) -> bytes:
        """Return the body after its last chunk.

        Raises:
            ValueError: it was cut off.
        """
        if self._unpacker is not None and self._parts and not self._unpacker.eof:
            msg = "its packed body was cut off"
            raise ValueError(msg)
        return b"".join(self._parts)


def json_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object in ``content``, None where there is none; a number with a point stays a decimal."""
    try:
        parsed = json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        # brackets within brackets are no answer of an exchange either
        return None
    return parsed if isinstance(parsed, dict) else None
