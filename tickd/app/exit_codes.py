"""What the exit code of every command means."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """0 clean, 1 failed or drain timed out, 2 bad config or usage, 3 data lost or different."""

    OK = 0
    FAILED = 1
    BAD_CONFIG = 2
    DATA_LOSS = 3
