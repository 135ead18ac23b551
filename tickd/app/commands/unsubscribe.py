"""`tickd unsubscribe`: record less with a running daemon, until its file is read again."""

from __future__ import annotations

from pathlib import Path

from tickd.app.plan_screen import order


def unsubscribe(config: Path, *patterns: str) -> int:
    """Record less with a running daemon, until its file is read again.

    Args:
        config: the daemon's config file, or its state directory
        patterns: venue:symbol@channel; the symbol may be a glob, the channel *

    Example:
        tickd unsubscribe tickd.toml "binance-usdm:*USDC@depth"

    """
    return order(config, "unsubscribe", patterns)
