"""Tell a watching service once a minute that minutes are decided; when it hears nothing more, it tells people.

The service is one like healthchecks.io: ``URL/start`` when the runtime starts, ``URL`` while `/healthz` holds, ``URL/fail``
when it no longer does or the session ends by an error. A session that ends on purpose says nothing: the service then
notices that nothing runs, unless it was paused there. The URL is a secret, so no log has it, nor an error's own words.
"""

from __future__ import annotations

import logging
import re
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runtime.health.snapshot import Health

EVERY_SECONDS = 60.0
TIMEOUT_SECONDS = 10.0
"""Of one request; one that hangs only delays the next."""
LAST_WORD_SECONDS = 3.0
"""How long the end of a failed session waits for its ``/fail``."""
_WEB_ADDRESS = re.compile(r"https?://[^\s/?#@:]+(:\d{1,5})?([/?][\x21-\x7e]*)?")
_log = logging.getLogger(__name__)


def check_heartbeat_url(url: str) -> str:
    """Return ``url``.

    Raises:
        ConfigError: it is no address of the web; the text does not show it.
    """
    if not _WEB_ADDRESS.fullmatch(url):
        msg = (
            "HEARTBEAT_URL is no address of the web; write for example https://hc-ping.com/your-uuid, or leave it empty"
        )
        raise ConfigError(msg)
    return url


class Heartbeat:
    """Sends to one URL; `beat` is called once a minute."""

    def __init__(self, url: str, health: Callable[[], Health]) -> None:
        """Keep the URL, which is a secret, and what is asked before each beat."""
        self._url = urlsplit(url)
        self._health = health
        self._was_healthy = False
        self._did_arrive = True

    def start(self) -> None:
        """Say that the runtime starts."""
        self._send("/start")

    def beat(self) -> None:
        """Say that all is well, or once that it no longer is."""
        is_healthy = self._health().is_healthy
        if is_healthy or self._was_healthy:
            self._send("" if is_healthy else "/fail")
        self._was_healthy = is_healthy

    def fail(self) -> None:
        """Say that the session ends by an error."""
        self._send("/fail")

    def _send(self, suffix: str) -> None:
        path = self._url.path.rstrip("/") + suffix
        request = urllib.request.Request(  # noqa: S310  # http and https alone, see `check_heartbeat_url`
            urlunsplit(self._url._replace(path=path, fragment="")), headers={"User-Agent": "candledesk"}
        )
        fault = ""
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310  # the same
                pass
        except urllib.error.HTTPError as error:
            error.close()
            fault = f"status {error.code}"
        except (OSError, HTTPException, ValueError) as error:
            # the text of the error may hold the address
            fault = type(error).__name__
        if fault and self._did_arrive:
            _log.warning("the heartbeat does not arrive (%s); it is tried again every minute", fault)
        elif not fault and not self._did_arrive:
            _log.warning("the heartbeat arrives again")
        self._did_arrive = not fault


@contextmanager
def beating(heartbeat: Heartbeat, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
    """Beat from a thread of its own for the length of the block; a block that ends by an error sends ``/fail``."""
    is_over = threading.Event()

    def work() -> None:
        heartbeat.start()
        while not is_over.wait(every_seconds):
            heartbeat.beat()

    threading.Thread(target=work, name="heartbeat", daemon=True).start()
    try:
        yield
    except Exception:
        last_word = threading.Thread(target=heartbeat.fail, name="heartbeat", daemon=True)
        last_word.start()
        last_word.join(LAST_WORD_SECONDS)
        raise
    finally:
        is_over.set()
