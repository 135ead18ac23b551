"""`tickd serve-replay`: captures as the venue they came from, on loopback."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from gateway.servers.config import ReplayServerConfig
from gateway.servers.replay import serve_replay as serve
from tickd.app.serving import ORDINARY_WIRE, WireOptions, run_server
from tickd.errors import ConfigError


def serve_replay(
    *files: Path,
    speed: str = "1",
    wait_subscribed: bool = True,
    exit_when_done: bool = False,
    wire: WireOptions = ORDINARY_WIRE,
) -> int:
    """Serve captures as the venue they came from, on loopback.

    Prints one JSON line with the ports, then plays when every stream has a subscriber. REST depth
    is answered from the current book, exchangeInfo from the file's decimals where it holds none.

    Args:
        files: captures, gzip or plain: one "recv_ns json" per line; "coinm:FILE" where the
            messages do not tell the market
        speed: factor on the recorded times, or "max"
        wait_subscribed: start when all streams are subscribed
        exit_when_done: end after the last message, else stay open, silent
        wire: what every loopback venue has

    Example:
        tickd serve-replay usdm_btcusdt.gz --speed max

    """
    if not files:
        raise ConfigError("no capture to replay", hint="name at least one file")
    config = ReplayServerConfig(
        files=tuple(str(file) for file in files),
        speed=_speed(speed),
        wait_subscribed=wait_subscribed,
        exit_when_done=exit_when_done,
        protocol=wire.protocol(),
    )
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("lines", total=None)

        def show(played: int, lines: int) -> None:
            progress.update(bar, completed=played, total=lines)

        return run_server(lambda clock, on_start: serve(config, clock, on_start, show))


def _speed(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--speed {text!r} is neither a number nor max") from error
