"""Let Python sleep under libfaketime: on the path of every process that `tests.campaign.other_dates` starts.

Only the time of day is faked there, for threads that wait on a faked monotonic clock hang. libfaketime 0.9.10 then still moves
the monotonic deadline that `time.sleep` gives the kernel, which refuses it: OSError 22. A `select` has no deadline to move.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
