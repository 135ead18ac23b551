"""The table of a Binance account: which market, where, with which credential files.

Shapes and their relations; it opens no file. Secrets are named by file or credential only: an
environment variable shows in `/proc` and in crash reports.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from risk.brokers.port import AccountSection
from tickd.late_secrets import LateSecret

__all__ = ["CONFIG", "ENDPOINTS", "BinanceConfig", "Endpoints", "Market"]

Market = Literal["spot", "usdm"]

# What both markets take as a client order id, less what would have to be escaped in a query.
# A reference has at most 13 characters of base36 (63 bits); the venue takes 36 in all.
_PREFIX: Final = re.compile(r"[A-Za-z0-9-]{1,16}-")
# The venue's own: https://developers.binance.com/docs/binance-spot-api-docs/websocket-api
RECV_WINDOW_MS_MAX: Final = 60_000
# Four heartbeats per countdown, each a request for every symbol.
COUNTDOWN_MS_MIN: Final = 5_000
LISTEN_KEY: Final = "{listen_key}"
# allOrders and myTrades of spot answer for 24 h at most, userTrades of USD-M for 7 days.
LOOK_BACK_S_MAX: Final = {"spot": 86_400.0, "usdm": 7 * 86_400.0}


class Endpoints(NamedTuple):
    """Where a market listens; stream: where a listen key goes, empty for spot."""

    ws_api: str
    rest: str
    stream: str


ENDPOINTS: Final[dict[tuple[str, str], Endpoints]] = {
    ("testnet", "spot"): Endpoints(
        "wss://ws-api.testnet.binance.vision/ws-api/v3", "https://testnet.binance.vision", ""
    ),
    ("live", "spot"): Endpoints(
        "wss://ws-api.binance.com:443/ws-api/v3", "https://api.binance.com", ""
    ),
    ("testnet", "usdm"): Endpoints(
        "wss://testnet.binancefuture.com/ws-fapi/v1",
        "https://testnet.binancefuture.com",
        "wss://fstream.binancefuture.com/ws",
    ),
    ("live", "usdm"): Endpoints(
        "wss://ws-fapi.binance.com/ws-fapi/v1",
        "https://fapi.binance.com",
        "wss://fstream.binance.com/private/ws",
    ),
}


class BinanceConfig(AccountSection, frozen=True, kw_only=True, tag="binance"):
    """One account at one market. Position mode one-way, checked when the session starts.

    api_key, secret_key: each is given so, or as a plain path in api_key_file, secret_key_file.
    symbols: what may be traded and is asked for in snapshots; the venue lists orders and trades by
    symbol only. countdown_ms (USD-M): the venue cancels what is open in `symbols` when it has heard
    nothing for so long; 0 = off. stream_url (USD-M): the listen key replaces `{listen_key}`, or is
    appended.
    """

    market: Market
    symbols: tuple[str, ...]
    api_key: LateSecret | None = None
    secret_key: LateSecret | None = None
    api_key_file: str = ""
    secret_key_file: str = ""
    environment: Literal["testnet", "live"] = "testnet"
    order_prefix: str = "tickd-"
    ws_api_url: str | None = None
    rest_url: str | None = None
    stream_url: str | None = None
    recv_window_ms: int = 5_000
    countdown_ms: int = 0
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 5.0
    query_timeout_s: float = 10.0
    query_tries: int = 3
    cancel_all_timeout_s: float = 20.0
    look_back_s: float = 43_200.0
    time_sync_s: float = 300.0
    listen_key_renew_s: float = 1_800.0
    stream_silence_s: float = 5.0
    ping_idle_s: float = 5.0
    ping_reply_s: float = 5.0
    backoff_first_s: float = 0.25
    backoff_cap_s: float = 30.0
    weight_per_minute_max: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("api_key", "secret_key"):
            if (getattr(self, name) is None) == (not getattr(self, f"{name}_file")):
                raise ValueError(f"either {name} or {name}_file is needed, one of them")
        if not self.symbols or any(not symbol for symbol in self.symbols):
            raise ValueError("symbols is empty: name what this account trades")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols names one twice")
        if self.market == "spot":
            self._check_spot()
        if not _PREFIX.fullmatch(self.order_prefix):
            raise ValueError(
                f"order_prefix is {self.order_prefix!r}: up to 16 letters, digits and -, then -"
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        if not 1 <= self.recv_window_ms <= RECV_WINDOW_MS_MAX:
            raise ValueError(f"recv_window_ms is {self.recv_window_ms}, 1 to {RECV_WINDOW_MS_MAX}")
        if self.countdown_ms != 0 and self.countdown_ms < COUNTDOWN_MS_MIN:
            raise ValueError(f"countdown_ms is {self.countdown_ms}: 0, or {COUNTDOWN_MS_MIN} up")
        most = LOOK_BACK_S_MAX[self.market]
        if not 0 < self.look_back_s < most:
            raise ValueError(f"look_back_s is {self.look_back_s}, above 0 and below {most}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}, above 0 needed")

    def _check_spot(self) -> None:
        if self.countdown_ms:
            raise ValueError("countdown_ms is of usdm alone: spot has no such switch")
        if self.stream_url is not None:
            raise ValueError("stream_url is of usdm alone: spot listens on ws_api_url")
        # What spot holds is the balance of an asset; it is named by taking the currency off.
        for symbol in self.symbols:
            if not symbol.endswith(self.currency) or symbol == self.currency:
                raise ValueError(f"symbol {symbol!r} does not settle in {self.currency}")

    @property
    def endpoints(self) -> Endpoints:
        known = ENDPOINTS[self.environment, self.market]
        return Endpoints(
            self.ws_api_url or known.ws_api,
            (self.rest_url or known.rest).rstrip("/"),
            (self.stream_url or known.stream).rstrip("/"),
        )

    def stream_of(self, listen_key: str) -> str:
        """Where USD-M's user data stream is heard; a secret as the key is."""
        url = self.endpoints.stream
        if LISTEN_KEY in url:
            return url.replace(LISTEN_KEY, listen_key)
        return f"{url}/{listen_key}"

    @property
    def weight_max(self) -> int:
        """Request weight per minute that the venue allows an address."""
        if self.weight_per_minute_max is not None:
            return self.weight_per_minute_max
        return 6_000 if self.market == "spot" else 2_400


_POSITIVE: Final = (
    "connect_timeout_s",
    "answer_timeout_s",
    "query_timeout_s",
    "cancel_all_timeout_s",
    "time_sync_s",
    "listen_key_renew_s",
    "stream_silence_s",
    "ping_idle_s",
    "ping_reply_s",
    "backoff_first_s",
    "backoff_cap_s",
    "query_tries",
    "weight_per_minute_max",
)

CONFIG: Final = BinanceConfig
