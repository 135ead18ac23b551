"""`tickd subscribe`: record more with a running daemon, until its file is read again."""

from __future__ import annotations

from pathlib import Path

from tickd.app.plan_screen import order


def subscribe(config: Path, *patterns: str, priority: int | None = None) -> int:
    """Record more with a running daemon, until its file is read again.

    What is recorded already is not touched. To keep it, write it into the file.

    Args:
        config: the daemon's config file, or its state directory
        patterns: venue:symbol@channel; the symbol may be a glob, the channel *
        priority: what is lower is paused first; otherwise the venue's own

    Examples:
        tickd subscribe tickd.toml binance-usdm:SOLUSDT@trade
        tickd subscribe tickd.toml "okx:BTC-*@*" --priority 10

    """
    return order(config, "subscribe", patterns, priority=priority)
