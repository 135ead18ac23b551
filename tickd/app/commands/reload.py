"""`tickd reload`: let a running daemon read its file again, and say what came of it."""

from __future__ import annotations

from pathlib import Path

from tickd.app.plan_screen import reload_now


def reload(config: Path) -> int:
    """Let a running daemon read its file again.

    The same as SIGHUP, with an answer. Symbols, channels, subscriptions and limits follow the file;
    a file that is wrong, asks for too much or loosens limits while armed changes nothing.

    Args:
        config: the daemon's config file, or its state directory

    Example:
        tickd reload tickd.toml

    """
    return reload_now(config)
