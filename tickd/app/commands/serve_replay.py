"""`tickd serve-replay`: captures as the venue they came from, on loopback."""

from __future__ import annotations

from pathlib import Path

from gateway.servers.config import ProtocolConfig, ReplayServerConfig
from gateway.servers.replay import serve_replay as serve
from tickd.app.serving import run_server
from tickd.errors import ConfigError


def serve_replay(
    *files: Path,
    speed: str = "1",
    wait_subscribed: bool = True,
    exit_when_done: bool = False,
    sent_log: Path | None = None,
    ws_port: int = 0,
    rest_port: int = 0,
) -> int:
    """Serve captures as the venue they came from, on loopback.

    Prints one JSON line with the ports, then plays when every stream has a subscriber. REST depth
    is answered from the current book, exchangeInfo from the file's decimals where it holds none.

    Args:
        files: captures, gzip or plain: one "recv_ns json" per line
        speed: factor on the recorded times, or "max"
        wait_subscribed: start when all streams are subscribed
        exit_when_done: end after the last message, else stay open, silent
        sent_log: write every message sent: "connection stream json" per line
        ws_port: WebSocket port; 0 = the kernel picks
        rest_port: REST port; 0 = the kernel picks

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
        protocol=ProtocolConfig(
            ws_port=ws_port, rest_port=rest_port, sent_log=str(sent_log) if sent_log else None
        ),
    )
    return run_server(lambda clock, on_start: serve(config, clock, on_start))


def _speed(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--speed {text!r} is neither a number nor max") from error
