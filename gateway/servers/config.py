"""What the replay server and the simulated venue can be told; nothing here opens a socket."""

from __future__ import annotations

from typing import Literal

import msgspec

from tickd.errors import ConfigError

Market = Literal["spot", "usdm", "coinm"]
MARKETS: tuple[Market, ...] = ("spot", "usdm", "coinm")


class ProtocolConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the venue behaves on the wire; `None` means what Binance documents for the market.

    slow: `close` ends a client whose unsent bytes exceed `slow_bytes_max`, as the venue does;
    `wait` stops sending until it has read on. weight_per_minute_max: more is answered with 429.
    """

    host: str = "127.0.0.1"
    ws_port: int = 0  # 0 = the kernel picks; with several markets only 0 is possible
    rest_port: int = 0
    ping_interval_s: float | None = None  # spot 20 s, futures 180 s
    pong_timeout_s: float | None = None  # spot 60 s, futures 600 s
    messages_per_s_max: int | None = None  # spot 5, futures 10; more: close 1008
    streams_max: int = 1024
    lifetime_s: float = 86_400.0
    slow: Literal["close", "wait"] = "wait"
    slow_bytes_max: int = 8 << 20
    unknown_streams: Literal["error", "silent"] = "error"
    weight_per_minute_max: int | None = None  # spot 6000, futures 2400
    sent_log: str | None = None  # append-only file of `connection stream json` lines

    def __post_init__(self) -> None:
        if self.messages_per_s_max is not None and self.messages_per_s_max < 1:
            raise ConfigError(f"messages_per_s_max is {self.messages_per_s_max}, at least 1 needed")
        if self.slow_bytes_max < 65_536:
            raise ConfigError(f"slow_bytes_max is {self.slow_bytes_max}, at least 65536 needed")
        if self.lifetime_s <= 0:
            raise ConfigError(f"lifetime_s is {self.lifetime_s}, more than 0 needed")


class ReplayServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Captures to play. speed: factor on the recorded times; 0 = as fast as clients read."""

    files: tuple[str, ...]
    speed: float = 1.0
    wait_subscribed: bool = True  # start when every stream of the captures has a subscriber
    exit_when_done: bool = False
    protocol: ProtocolConfig = ProtocolConfig()

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigError("no capture to replay", hint="name at least one file")
        if self.speed < 0:
            raise ConfigError(f"speed is {self.speed}, 0 (as fast as possible) or more needed")


class SimServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A simulated venue.

    rate: messages per second of one market, over trade, bookTicker and depth@0ms of all symbols.
    """

    markets: tuple[Market, ...] = ("usdm",)
    symbols: int = 20
    rate: float = 10_000.0
    seed: int = 1
    seconds: float = 0.0  # 0 = until stopped; then the servers stay open, silent
    tick_ms: float = 2.0
    mix: tuple[float, float, float] = (70.0, 23.0, 7.0)  # quote, trade, depth
    depth_levels: float = 8.0  # mean levels of a depth message
    remembered_trades: int = 0  # per symbol, for historicalTrades; about 56 bytes each
    start_on_subscribe: bool = True  # the market stands still until the first subscription
    exit_when_done: bool = False
    faults: tuple[str, ...] = ()  # `gap@t=5,symbol=BTCUSDT,channel=trade,count=3`
    protocol: ProtocolConfig = ProtocolConfig()

    def __post_init__(self) -> None:
        if not self.markets or len(set(self.markets)) != len(self.markets):
            raise ConfigError(f"markets {self.markets} are empty or repeat")
        if not 1 <= self.symbols <= 4096:
            raise ConfigError(f"symbols is {self.symbols}, 1 to 4096 possible")
        if self.remembered_trades < 0:
            raise ConfigError(f"remembered_trades is {self.remembered_trades}, 0 or more needed")
        if self.rate <= 0 or self.seconds < 0:
            raise ConfigError(f"rate {self.rate} and seconds {self.seconds} cannot be simulated")
        if not 0.1 <= self.tick_ms <= 1000:
            raise ConfigError(f"tick_ms is {self.tick_ms}, 0.1 to 1000 possible")
