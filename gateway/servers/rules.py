"""What Binance documents for each market, as data: limits, paths, classes of streams. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from gateway.servers.config import Market

StreamClass = Literal["public", "market"]

# tardis-node's rule for USD-M since the split of 2026-03-06: these are public, the rest is market.
PUBLIC_CHANNELS: Final = frozenset({"bookTicker", "depth", "rpiDepth", "trade"})
STREAM_NAME: Final = re.compile(
    r"[a-z0-9_]+@[A-Za-z0-9]+(?:@[0-9]+m?s)?|![A-Za-z]+(?:@[A-Za-z0-9]+)*"
)


@dataclass(frozen=True, slots=True)
class MarketRules:
    """One market's numbers. Times in seconds, weights per minute."""

    venue: str
    rest_prefix: str
    ping_interval_s: float
    pong_timeout_s: float
    messages_per_s_max: int
    weight_per_minute_max: int
    info_weight: int
    depth_weights: tuple[tuple[int, int], ...]  # (limit up to, weight)
    depth_limits: frozenset[int] | None  # None: any from 1 to the largest
    past_weight: int  # of historicalTrades
    past_max: int  # trades in one reply
    past_keyed: bool  # asks who asks
    tickers_weight: int  # of ticker/24hr for all symbols

    def depth_weight(self, limit: int) -> int:
        return next((weight for upto, weight in self.depth_weights if limit <= upto), 0)

    def depth_limit_is_valid(self, limit: int) -> bool:
        if self.depth_limits is not None:
            return limit in self.depth_limits
        return 1 <= limit <= self.depth_weights[-1][0]


_FUTURES_WEIGHTS: Final = ((50, 2), (100, 5), (500, 10), (1000, 20))
_FUTURES_LIMITS: Final = frozenset({5, 10, 20, 50, 100, 500, 1000})


def _futures(venue: str, prefix: str) -> MarketRules:
    return MarketRules(
        venue=venue,
        rest_prefix=prefix,
        ping_interval_s=180.0,
        pong_timeout_s=600.0,
        messages_per_s_max=10,
        weight_per_minute_max=2_400,
        info_weight=1,
        depth_weights=_FUTURES_WEIGHTS,
        depth_limits=_FUTURES_LIMITS,
        past_weight=20,
        past_max=500,
        past_keyed=True,
        tickers_weight=40,
    )


RULES: Final[dict[Market, MarketRules]] = {
    "spot": MarketRules(
        venue="binance-spot",
        rest_prefix="/api/v3",
        ping_interval_s=20.0,
        pong_timeout_s=60.0,
        messages_per_s_max=5,
        weight_per_minute_max=6_000,
        info_weight=20,
        depth_weights=((100, 5), (500, 25), (1000, 50), (5000, 250)),
        depth_limits=None,
        past_weight=25,
        past_max=1000,
        past_keyed=False,
        tickers_weight=80,
    ),
    "usdm": _futures("binance-usdm", "/fapi/v1"),
    "coinm": _futures("binance-coinm", "/dapi/v1"),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the path of a connection says."""

    combined: bool
    only: StreamClass | None  # streams of the other class are accepted and never delivered
    streams: tuple[str, ...]


def parse_path(market: Market, target: str) -> Endpoint | None:
    """Return what `target` (path and query) asks for; None when the market has no such path."""
    path, _, query = target.partition("?")
    only: StreamClass | None = None
    if market == "usdm":
        # Since 2026-04-23 the paths without a class deliver what `/public` does.
        only = "public"
        for name in ("public", "market"):
            if path.startswith(f"/{name}/"):
                only = "market" if name == "market" else "public"
                path = path.removeprefix(f"/{name}")
    if path == "/stream":
        asked = [part[8:] for part in query.split("&") if part.startswith("streams=")]
        return Endpoint(True, only, tuple(name for name in "/".join(asked).split("/") if name))
    if path == "/ws" or path.startswith("/ws/"):
        return Endpoint(False, only, tuple(name for name in path[4:].split("/") if name))
    return None


def stream_class(stream: str) -> StreamClass:
    """The class of a stream of USD-M."""
    parts = stream.split("@")
    return "public" if len(parts) > 1 and parts[1] in PUBLIC_CHANNELS else "market"
