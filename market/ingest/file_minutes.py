"""Tell from the times of a file whether its candles are of one minute, and whether each minute stands in it once."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from core.candles import EPOCH
from core.errors import CandleFileError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

MIN_USUAL_STEPS = 5
"""So many steps of one same length above a minute, and more than half of all, are candles of that length: in a thin product no
length above a minute is that common."""

MAX_EQUAL_STEPS = 20
"""More rows in a row at one same distance of several minutes are candles of another interval, laid among minutes: in a thin
product two neighbours are two minutes apart at most a quarter of the time, so twenty by chance are one in 10^12."""

MAX_REPEATED_MINUTES, MAX_REPEATED_SHARE = 30, 0.05
"""So many minutes told with different opens are not one minute looked at twice (its first trade stays): the time is cut to
the hour or day, or local with an hour that comes twice (60 minutes), or two files were put together."""


class FileMinutes:
    """The times of a file, to tell its interval and whether a time stands in it again and again."""

    def __init__(self, path: Path, times: np.ndarray, opens: np.ndarray, now: datetime) -> None:
        """Keep the times on the minute grid that have begun; the others go to quarantine row by row."""
        begun = (times % 60_000_000 == 0) & (times <= (now - EPOCH) // timedelta(microseconds=1))
        self.path = path
        # most files are in order, whole and without repetition: there nothing is copied
        self.times = times if begun.all() else times[begun]
        self.opens = opens if begun.all() else opens[begun]
        is_ascending = bool((self.times[1:] > self.times[:-1]).all())
        self.unique = self.times if is_ascending else np.unique(self.times)
        if not len(self.unique):
            shown = f", such as {_utc(int(times[0]))}" if len(times) else ""
            msg = f"no row of {path} has a time at the start of a minute that has begun{shown}; name the column of the time with --columns"
            raise CandleFileError(msg)

    def interval(self, *, sparse: bool) -> int:
        """Return the candles' interval in minutes, 0 for a single minute.

        Raises:
            CandleFileError: it is not one minute, of all or of a run of rows.
        """
        steps = np.diff(self.unique) // 60_000_000
        interval = int(np.gcd.reduce(steps)) if len(steps) else 0
        # a file of hours often ends with the hour that was not over yet, at any minute
        distances, counts = np.unique(steps, return_counts=True)
        is_usual = len(steps) > 0 and counts.max() >= MIN_USUAL_STEPS and 2 * counts.max() > len(steps)
        other = int(distances[counts.argmax()]) if interval == 1 and is_usual else interval
        if other > 1 and not sparse:
            msg = (
                f"the candles of {self.path} are of {_interval(other)}, not of one minute: fetch the file of minutes; "
                "if they are minutes with holes between all of them, say so with --sparse"
            )
            raise CandleFileError(msg)
        # where steps of equal length above a minute begin and end
        borders = np.flatnonzero(np.diff(steps, prepend=0, append=0))
        for begin, end in pairwise(borders):
            if steps[begin] > 1 and end - begin >= MAX_EQUAL_STEPS and not sparse:
                msg = (
                    f"{self.path} holds candles of {_interval(int(steps[begin]))} among minutes, from {_utc(int(self.unique[begin]))} "
                    f"to {_utc(int(self.unique[end]))}: leave them out; if they are minutes with holes between them, say so with --sparse"
                )
                raise CandleFileError(msg)
        return interval

    def require_once(self) -> None:
        """Refuse times that stand there again and again with different candles.

        Raises:
            CandleFileError: it shows one of them.
        """
        if len(self.unique) == len(self.times):
            return
        order = np.lexsort((self.opens, self.times))
        times, opens = self.times[order], self.opens[order]
        again = np.unique(times[1:][(times[1:] == times[:-1]) & (opens[1:] != opens[:-1])])
        if len(again) >= MAX_REPEATED_MINUTES or len(again) > MAX_REPEATED_SHARE * len(self.unique):
            msg = (
                f"{self.path}: {len(again)} of {len(self.unique)} minutes stand there more than once with different opens, the first "
                f"{_utc(int(again[0]))}: a time cut to the hour or day, local times with an hour that comes twice, or two files in one; "
                "write one row a minute with its time in UTC, or name the columns of date and time with --columns"
            )
            raise CandleFileError(msg)


def _interval(minutes: int) -> str:
    for size, name in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes % size == 0:
            return f"{minutes // size} {name}{'s' if minutes > size else ''}"
    raise AssertionError(minutes)


def _utc(micros: int) -> str:
    return f"{EPOCH + timedelta(microseconds=micros):%Y-%m-%d %H:%M}"
