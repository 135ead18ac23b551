"""Where brokers' SDKs put their own files: below the state directory, not where tickd was started.

An SDK reads these variables when it is imported, so they are set before any session exists; what
the operator has set stays. It imports no SDK.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["keep_sdk_files"]


def keep_sdk_files(state_dir: Path) -> None:
    """Give SDKs a private directory for logs and caches."""
    home = (state_dir / "sdk").absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Shioaji writes `shioaji.log` into the current directory otherwise (1.7.9).
    os.environ.setdefault("SJ_LOG_PATH", str(home / "shioaji.log"))
    os.environ.setdefault("SJ_CONTRACTS_PATH", str(home))
