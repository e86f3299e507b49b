"""Read single cells of a candle file: exact numbers, and times in the forms people write them.

A time's unit follows from its size, which tells seconds, milli-, micro- and nanoseconds apart for every year since 1973.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from core.candles import EPOCH

if TYPE_CHECKING:
    from collections.abc import Sequence

DATE_ORDERS = ("dmy", "mdy")
"""What ``01/05/2024`` means: the first of May, or January the fifth."""
COMMA_NUMBER = re.compile(r"[+-]?[0-9][0-9. ]*,[0-9]+")
"""``100,6`` and ``1.234,56``, and ``1,234``, which may be either."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?: ?[AaPp][Mm])?|[0-9]{4}|[0-9]{6}")
_DAY_FIRST = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})(?!\d)")
_YEAR_FIRST = re.compile(r"([0-9]{4})[./]([0-9]{2})[./]([0-9]{2})(?!\d)")
_YEAR_LAST = re.compile(r"([0-9]{1,2})([/-])([0-9]{1,2})\2([0-9]{4})(?:[ T,]+([0-9]{1,2})(:[0-9]{2}.*))?")
_TWELVE_HOURS = re.compile(r"(.*?)([0-9]{1,2})(:[0-9]{2}(?::[0-9]{2})?) ?([AaPp])[Mm]")
_LOOSE = ' \t"'
_COMPACT = {8, 12, 14}
"""Digits of 20240105, 202401050349 and 20240105034900: as a number since 1970 none of them is of this century."""
_NOTHING = Decimal("NaN")
# from this many of a unit on (1973) up to a thousand times as many -> microseconds in a unit, or a divisor
_UNITS = (
    (10**8, 1_000_000, "seconds"),
    (10**11, 1_000, "milliseconds"),
    (10**14, 1, "microseconds"),
    (10**17, 0, "nanoseconds"),
)
TIME_KINDS = (*(name for _, _, name in _UNITS), "date and time as text")
"""How a whole time may be written; a number is surer than its text twin."""


def number(cell: str | None) -> Decimal:
    """Return a cell's exact number; NaN, which no quality rule lets pass, for one that holds none."""
    text = cell or ""
    # nearly every cell: three times as fast as the pattern
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return Decimal(text)
    text = text.strip(_LOOSE)
    return Decimal(text) if _NUMBER.fullmatch(text) else _NOTHING


def numbers(cells: Sequence[str | None]) -> list[Decimal]:
    """Return a column's numbers, see `number`; nearly every column is nothing but digits and points."""
    try:
        text = "".join(cells)  # type: ignore[arg-type]  # a cell that is None is a TypeError
        if text.isascii() and text.replace(".", "").isdigit():
            return list(map(Decimal, cells))  # type: ignore[arg-type]  # there is none
    except (TypeError, InvalidOperation):
        pass
    return [number(cell) for cell in cells]


def moments(cells: Sequence[str | None]) -> list[int | None]:
    """Return a column's times, see `micros`; those that are numbers of one unit all at once."""
    texts = [cell or "" for cell in cells]
    if all(map(str.isdecimal, texts)) and _COMPACT.isdisjoint(map(len, texts)):
        values = list(map(int, texts))
        for least, factor, _ in _UNITS:
            if least <= min(values) and max(values) < 1000 * least:
                return [value * factor if factor else value // 1000 for value in values]
    return [micros(text) for text in texts]


def micros(text: str) -> int | None:
    """Return a written time as microseconds since 1970, None for what is none; without a zone it is UTC."""
    is_whole = text.isascii() and text.isdigit()
    if not is_whole:
        text = text.strip(_LOOSE)
        is_whole = text.isascii() and text.isdigit()
    if is_whole and len(text) not in _COMPACT:
        return _of_unit(int(text)) if len(text) < 20 else None
    if not is_whole and _NUMBER.fullmatch(text):
        value = Decimal(text)
        return _of_unit(value) if 0 < value < 10**20 else None
    plain = text.removesuffix(" UTC").removesuffix(" GMT")
    if is_whole and len(plain) > 8:
        plain = f"{plain[:8]}T{plain[8:]}"
    plain = _YEAR_FIRST.sub(r"\1-\2-\3", _DAY_FIRST.sub(r"\3-\2-\1", plain))
    try:
        moment = datetime.fromisoformat(_of_day(plain) if plain[-1:] in {"m", "M"} else plain)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    past = moment - EPOCH
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def _of_unit(value: int | Decimal) -> int | None:
    """Return a number since 1970 in microseconds, its unit being that which makes it a time after 1973."""
    for least, factor, _ in _UNITS:
        if least <= value < 1000 * least:
            return int(value * factor) if factor else int(value) // 1000
    return None


def _of_day(text: str) -> str:
    """Return a time of twelve hours as one of the day: ``3:49 PM`` is 15:49."""
    match = _TWELVE_HOURS.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= 12:
        return text
    return f"{match[1]}{int(match[2]) % 12 + 12 * (match[4] in 'pP'):02}{match[3]}"


def day_and_month(text: str) -> tuple[int, int] | None:
    """Return the first two numbers of ``01/05/2024 03:49`` or ``1-5-2024``, in the order they stand; None for other forms."""
    match = _YEAR_LAST.fullmatch(_of_day(text.strip(_LOOSE)))
    return (int(match[1]), int(match[3])) if match else None


def year_first(text: str, order: str) -> str:
    """Return such a time with its year first, ``order`` being one of `DATE_ORDERS`; any other text as it is."""
    match = _YEAR_LAST.fullmatch(_of_day(text.strip(_LOOSE)))
    if match is None:
        return text
    day, month = (match[1], match[3]) if order == "dmy" else (match[3], match[1])
    clock = f" {int(match[5]):02}{match[6]}" if match[5] else ""
    return f"{match[4]}-{int(month):02}-{int(day):02}{clock}"


def time_kind(cells: Sequence[str | None]) -> str:
    """Return how most cells that are times are written: one of `TIME_KINDS`, ``date``, ``clock``, or nothing."""
    kinds = [kind for cell in cells if (kind := _cell_kind((cell or "").strip(_LOOSE)))]
    return max(dict.fromkeys(kinds), key=kinds.count, default="")


def _cell_kind(text: str) -> str:
    if day_and_month(text) is not None:
        ways = [year_first(text, order) for order in DATE_ORDERS]
        text = next((way for way in ways if micros(way) is not None), text)
    moment = micros(text)
    if moment is None:
        return "clock" if _CLOCK.fullmatch(text) else ""
    if _NUMBER.fullmatch(text) and not (text.isdigit() and len(text) in _COMPACT):
        return next(name for least, _, name in _UNITS if least <= Decimal(text) < 1000 * least)
    return "date" if len(text) <= 10 else "date and time as text"
