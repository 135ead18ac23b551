"""The file with what a strategy process knows: kept every few seconds, for the next one.

Taking the image is the caller's time; writing and syncing it is a thread's, so that a slow disk
stops no strategy. It does not know what an image holds.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, final

import structlog

from strategy_runner.errors import StrategyError
from strategy_runner.runner import StrategyHost
from tickd.durable import replace_file, sync_directory
from tickd.ports import Clock

__all__ = ["ImageFile"]

log = structlog.get_logger(__name__)

# While a book waits for its snapshot an image would lack what waits with it; so often is the old
# image left as it is.
SKIPPED_MAX: Final = 5
# Images take at most 1/SHARE of the time of the strategies.
SHARE: Final = 200


@final
class ImageFile:
    """One group's image."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._due_ns = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tickd-image")
        self._writing: Future[None] | None = None
        self._skipped = 0

    def keep(self, host: StrategyHost, seq: int) -> None:
        """Keep what `host` knows up to `seq`.

        Not while the image before is being written, or where that would take too much of the
        strategies' time.
        """
        began_ns = self._clock.mono_ns()
        if began_ns < self._due_ns or (self._writing is not None and not self._writing.done()):
            return
        if host.has_waiting_books and self._skipped < SKIPPED_MAX:
            self._skipped += 1
            return
        self._skipped = 0
        try:
            image = host.image(seq)
        except StrategyError as error:
            log.warning("strategy_image_not_kept", reason=str(error))
            return
        self._due_ns = began_ns + SHARE * (self._clock.mono_ns() - began_ns)
        self._writing = self._thread.submit(self._write, image)

    def close(self) -> None:
        """Wait for the image that is being written."""
        self._thread.shutdown()

    def _write(self, image: bytes) -> None:
        try:
            replace_file(self._path, image)
            sync_directory(self._path.parent)
        except OSError as error:
            log.warning("strategy_image_not_kept", reason=f"{self._path}: {error}")
