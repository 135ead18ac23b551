"""Binance's REST side as far as a market-data client needs it: lists, books, trades, tickers.

Counts weights and answers 429 as the venue does. It knows no books: `RestSource` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec
from aiohttp import web

from gateway.servers.config import Market, ProtocolConfig
from gateway.servers.rules import RULES, MarketRules
from tickd.ports import Clock

__all__ = ["RestSource", "rest_routes"]

NS_PER_MINUTE = 60_000_000_000
PAST_DEFAULT = "100"  # trades in a reply when no limit is given


class RestSource(Protocol):
    """What a market answers."""

    async def depth(self, symbol: str, limit: int) -> bytes | None:
        """The book as JSON; None for an unknown symbol. Raises TimeoutError while there is none."""

    def exchange_info(self) -> bytes:
        """The whole list as JSON. Raises nothing."""
        ...

    def past_trades(self, symbol: str, from_id: int | None, limit: int) -> bytes | None:
        """Past trades as JSON, from an id upwards or the newest.

        None for an unknown symbol. Raises TimeoutError while there are none to be had.
        """

    def tickers(self) -> bytes:
        """The last day of every symbol as JSON. Raises TimeoutError while there is none."""
        ...


class _Weights:
    """The weight used in the current minute."""

    def __init__(self, per_minute_max: int, clock: Clock) -> None:
        self._max = per_minute_max
        self._clock = clock
        self._minute = 0
        self.used = 0

    def take(self, weight: int) -> int:
        """Use `weight`; 0 when allowed, otherwise the seconds to wait."""
        now_ns = self._clock.mono_ns()
        minute = now_ns // NS_PER_MINUTE
        if minute != self._minute:
            self._minute, self.used = minute, 0
        self.used += weight
        if self.used <= self._max:
            return 0
        return 1 + (NS_PER_MINUTE - now_ns % NS_PER_MINUTE) // 1_000_000_000


class _MarketRest:
    def __init__(
        self, rules: MarketRules, config: ProtocolConfig, clock: Clock, source: RestSource
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._source = source
        self._weights = _Weights(config.weight_per_minute_max or rules.weight_per_minute_max, clock)

    def routes(self) -> list[web.RouteDef]:
        prefix = self._rules.rest_prefix
        return [
            web.get(f"{prefix}/ping", self._ping),
            web.get(f"{prefix}/time", self._time),
            web.get(f"{prefix}/depth", self._depth),
            web.get(f"{prefix}/exchangeInfo", self._info),
            web.get(f"{prefix}/historicalTrades", self._past),
            web.get(f"{prefix}/ticker/24hr", self._tickers),
        ]

    def _reply(self, body: bytes, status: int = 200) -> web.Response:
        return web.Response(
            body=body,
            status=status,
            content_type="application/json",
            headers={"X-MBX-USED-WEIGHT-1M": str(self._weights.used)},
        )

    def _error(self, status: int, code: int, text: str) -> web.Response:
        return self._reply(msgspec.json.encode({"code": code, "msg": text}), status)

    def _limited(self, weight: int) -> web.Response | None:
        wait_s = self._weights.take(weight)
        if wait_s == 0:
            return None
        reply = self._error(429, -1003, "Too many requests; current limit of weight is exceeded.")
        reply.headers["Retry-After"] = str(wait_s)
        return reply

    async def _ping(self, _: web.Request) -> web.Response:
        return self._limited(1) or self._reply(b"{}")

    async def _time(self, _: web.Request) -> web.Response:
        time_ms = self._clock.wall_ns() // 1_000_000
        return self._limited(1) or self._reply(b'{"serverTime":%d}' % time_ms)

    async def _depth(self, request: web.Request) -> web.Response:
        symbol, text = request.query.get("symbol"), request.query.get("limit", "100")
        if symbol is None:
            return self._error(400, -1102, "Mandatory parameter 'symbol' was not sent.")
        limit = int(text) if text.isascii() and text.isdigit() else 0
        if not self._rules.depth_limit_is_valid(limit):
            return self._error(400, -4021, f"{text[:20]} is not valid depth limit.")
        limited = self._limited(self._rules.depth_weight(limit))
        if limited is not None:
            return limited
        try:
            body = await self._source.depth(symbol, limit)
        except TimeoutError:
            return self._error(504, -1007, "Timeout waiting for response from backend server.")
        return self._error(400, -1121, "Invalid symbol.") if body is None else self._reply(body)

    async def _past(self, request: web.Request) -> web.Response:
        refusal = self._past_refusal(request) or self._limited(self._rules.past_weight)
        if refusal is not None:
            return refusal
        asked = request.query
        first = _number(asked["fromId"]) if "fromId" in asked else None
        limit = _number(asked.get("limit", PAST_DEFAULT)) or 0
        try:
            body = self._source.past_trades(asked["symbol"], first, limit)
        except TimeoutError:
            return self._error(504, -1007, "Timeout waiting for response from backend server.")
        return self._error(400, -1121, "Invalid symbol.") if body is None else self._reply(body)

    async def _tickers(self, request: web.Request) -> web.Response:
        if request.query:
            return self._error(400, -1101, "Only the tickers of all symbols are served here.")
        limited = self._limited(self._rules.tickers_weight)
        if limited is not None:
            return limited
        try:
            return self._reply(self._source.tickers())
        except TimeoutError:
            return self._error(504, -1007, "Timeout waiting for response from backend server.")

    def _past_refusal(self, request: web.Request) -> web.Response | None:
        if self._rules.past_keyed and "X-MBX-APIKEY" not in request.headers:
            return self._error(401, -2014, "API-key format invalid.")
        if "symbol" not in request.query:
            return self._error(400, -1102, "Mandatory parameter 'symbol' was not sent.")
        limit = _number(request.query.get("limit", PAST_DEFAULT))
        if limit is None or not 1 <= limit <= self._rules.past_max:
            return self._error(400, -1130, "Data sent for parameter 'limit' is not valid.")
        if _number(request.query.get("fromId", "0")) is None:
            return self._error(400, -1102, "Mandatory parameter 'fromId' was malformed.")
        return None

    async def _info(self, request: web.Request) -> web.Response:
        limited = self._limited(self._rules.info_weight)
        if limited is not None:
            return limited
        body = self._source.exchange_info()
        wanted = _wanted_symbols(request)
        if self._rules.venue != "binance-spot" or wanted is None:
            return self._reply(body)  # futures ignore the parameter
        info = msgspec.json.decode(body)
        info["symbols"] = [entry for entry in info["symbols"] if entry["symbol"] in wanted]
        if len(info["symbols"]) != len(wanted):
            return self._error(400, -1121, "Invalid symbol.")
        return self._reply(msgspec.json.encode(info))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _wanted_symbols(request: web.Request) -> set[str] | None:
    if "symbol" in request.query:
        return {request.query["symbol"]}
    if "symbols" in request.query:
        try:
            return set(msgspec.json.decode(request.query["symbols"], type=list[str]))
        except msgspec.DecodeError:
            return {""}  # no symbol has this name: -1121
    return None


def rest_routes(
    sources: Mapping[Market, RestSource], config: ProtocolConfig, clock: Clock
) -> list[web.RouteDef]:
    """The routes of all markets; their paths differ, so one port serves them."""
    routes: list[web.RouteDef] = []
    for market, source in sources.items():
        routes += _MarketRest(RULES[market], config, clock, source).routes()
    return routes
