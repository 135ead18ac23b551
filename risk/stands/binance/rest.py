"""The stand-in's REST: the venue's questions and cancels, and `/_stand/…`, which moves the venue.

Checks who asks; what is listed comes from the account.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from risk.stands.binance.access import BAD_KEY, Refused
from risk.stands.binance.account import Order, RefusedError
from risk.stands.binance.faults import Fault
from risk.stands.binance.venue import Venue

__all__ = ["rest_routes"]

Answer = Callable[[dict[str, str]], Any]


class _Rest:
    def __init__(self, venue: Venue, listen_key: str) -> None:
        self._venue = venue
        self._listen_key = listen_key
        self._used = 0
        self._minute = 0

    def routes(self) -> list[web.RouteDef]:
        spot = self._venue.account.market == "spot"
        root = "/api/v3" if spot else "/fapi/v1"
        routes = [
            self._route("GET", f"{root}/time", self._time, security="open"),
            self._route("GET", f"{root}/openOrders", self._open_orders),
            self._route("GET", f"{root}/allOrders", self._all_orders),
            self._route("GET", f"{root}/{'myTrades' if spot else 'userTrades'}", self._trades),
            self._route("GET", "/api/v3/account" if spot else "/fapi/v3/account", self._account),
            web.delete(f"{root}/order", self._cancel),
        ]
        if not spot:
            routes += [
                self._route("GET", "/fapi/v3/positionRisk", lambda _: self._positions()),
                self._route("GET", "/fapi/v1/positionSide/dual", self._mode),
                self._route("POST", "/fapi/v1/listenKey", self._key, security="keyed"),
                self._route("PUT", "/fapi/v1/listenKey", self._key, security="keyed"),
                self._route("POST", "/fapi/v1/countdownCancelAll", self._countdown),
            ]
        return routes

    def _route(
        self, method: str, path: str, answer: Answer, security: str = "signed"
    ) -> web.RouteDef:
        async def handle(request: web.Request) -> web.Response:
            failed = await self._gate(request, security)
            return failed or self._reply(answer(dict(request.query)))

        return web.route(method, path, handle)

    async def _gate(self, request: web.Request, security: str) -> web.Response | None:
        """A fault that is due, or the refusal of who asks."""
        venue = self._venue
        fault = venue.faults.take(request.path)
        if fault is not None:
            match fault.kind:
                case "rest_timeout":
                    await venue.clock.sleep(fault.ms / 1_000)
                case "rest_429":
                    reply = self._refused((429, -1003, "Too many requests."))
                    reply.headers["Retry-After"] = "1"
                    return reply
                case "unfinished_list":
                    return web.Response(body=b'[{"symbol":"BTC', content_type="application/json")
                case _:
                    return self._refused((503, -1000, "Service unavailable."))
        return self._refusal(request, security)

    def _refusal(self, request: web.Request, security: str) -> web.Response | None:
        access = self._venue.access
        api_key = request.headers.get("X-MBX-APIKEY", "")
        refusal: Refused | None = None
        if security == "keyed" and not access.knows(api_key):
            refusal = BAD_KEY
        elif security == "signed":
            query = request.rel_url.raw_query_string
            asked = dict(request.query)
            refusal = access.check_query(api_key, query, asked, self._venue.now_ms)
        return None if refusal is None else self._refused(refusal)

    def _reply(self, answer: Any, status: int = 200) -> web.Response:
        minute = self._venue.now_ms // 60_000
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += 1
        return web.Response(
            body=msgspec.json.encode(answer),
            status=status,
            content_type="application/json",
            headers={"X-MBX-USED-WEIGHT-1M": str(self._used)},
        )

    def _refused(self, refusal: Refused) -> web.Response:
        status, code, words = refusal
        return self._reply({"code": code, "msg": words}, status)

    # Lists ----------------------------------------------------------------------------------

    def _time(self, _: dict[str, str]) -> Any:
        return {"serverTime": self._venue.now_ms}

    def _open_orders(self, asked: dict[str, str]) -> Any:
        return [
            self._venue.shapes.listed(each)
            for each in self._venue.account.open_orders()
            if asked.get("symbol") in {None, each.symbol}
        ]

    def _all_orders(self, asked: dict[str, str]) -> Any:
        venue = self._venue
        found = [
            venue.shapes.listed(each)
            for each in venue.account.orders.values()
            if each.symbol == asked["symbol"] and _within(each.time_ms, asked)
        ]
        return found[: int(asked.get("limit", 500))]

    def _trades(self, asked: dict[str, str]) -> Any:
        venue = self._venue
        found = [
            venue.shapes.traded(each)
            for each in venue.account.trades
            if each.order.symbol == asked["symbol"] and _within(each.time_ms, asked)
        ]
        return found[: int(asked.get("limit", 500))]

    def _account(self, _: dict[str, str]) -> Any:
        return self._venue.shapes.account()

    def _positions(self) -> Any:
        return self._venue.shapes.positions()

    def _mode(self, _: dict[str, str]) -> Any:
        return {"dualSidePosition": self._venue.account.is_hedged}

    def _key(self, _: dict[str, str]) -> Any:
        return {"listenKey": self._listen_key}

    def _countdown(self, asked: dict[str, str]) -> Any:
        self._venue.count_down(asked["symbol"], int(asked["countdownTime"]))
        return {"symbol": asked["symbol"], "countdownTime": asked["countdownTime"]}

    async def _cancel(self, request: web.Request) -> web.Response:
        failed = await self._gate(request, "signed")
        if failed is not None:
            return failed
        asked = dict(request.query)
        self._venue.requests.append({"method": "DELETE", "fault": "", **asked})
        try:
            changes, result = self._venue.do("order.cancel", asked)
        except RefusedError as error:
            return self._refused((400, error.code, error.words))
        await self._venue.tell(changes)
        return self._reply(result)


class _Controls:
    """What a test does to the venue; no part of Binance."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_stand/fault", self._fault),
            web.post("/_stand/fill", self._fill),
            web.post("/_stand/end", self._end),
            web.post("/_stand/place", self._place),
            web.post("/_stand/say", self._say),
            web.post("/_stand/cut", self._cut),
            web.post("/_stand/set", self._set),
            web.get("/_stand/log", self._log),
        ]

    def _order(self, client_id: str) -> Order:
        orders = self._venue.account.orders.values()
        return next(each for each in reversed(orders) if each.client_id == client_id)

    async def _fault(self, request: web.Request) -> web.Response:
        self._venue.faults.add(msgspec.json.decode(await request.read(), type=Fault))
        return web.json_response({})

    async def _fill(self, request: web.Request) -> web.Response:
        """`{"client_id", "size"?, "price"?}`: the rest of it, at its own price."""
        asked = await request.json()
        venue = self._venue
        order = self._order(asked["client_id"])
        size = Decimal(asked.get("size") or order.size - order.filled)
        price = Decimal(asked.get("price") or order.price)
        await venue.tell(venue.account.fill(order, size, price, venue.now_ms))
        return web.json_response({})

    async def _end(self, request: web.Request) -> web.Response:
        """`{"client_id", "status"?}`: the venue ends an order by itself."""
        asked = await request.json()
        venue = self._venue
        status = asked.get("status", "EXPIRED")
        await venue.tell(
            venue.account.expire(self._order(asked["client_id"]), venue.now_ms, status)
        )
        return web.json_response({})

    async def _place(self, request: web.Request) -> web.Response:
        """An order of somebody else, by the venue's own names."""
        venue = self._venue
        await venue.tell(venue.account.place(await request.json(), venue.now_ms))
        return web.json_response({})

    async def _say(self, request: web.Request) -> web.Response:
        """Any event of the user data stream."""
        await self._venue.say(await request.json())
        return web.json_response({})

    async def _cut(self, _: web.Request) -> web.Response:
        self._venue.cut_all()
        return web.json_response({})

    async def _set(self, request: web.Request) -> web.Response:
        """`skew_ms`, `is_hedged`, `takes_sockets`: state of the venue."""
        asked = await request.json()
        self._venue.takes_sockets = asked.get("takes_sockets", self._venue.takes_sockets)
        self._venue.skew_ms = asked.get("skew_ms", self._venue.skew_ms)
        account = self._venue.account
        account.is_hedged = asked.get("is_hedged", account.is_hedged)
        return web.json_response({})

    async def _log(self, _: web.Request) -> web.Response:
        venue = self._venue
        orders = [
            {name: str(value) for name, value in asdict(each).items()}
            for each in venue.account.orders.values()
        ]
        log = {
            "requests": venue.requests,
            "faults": venue.faults.taken,
            "orders": orders,
            "countdown_calls": venue.countdown_calls,
            "connections": len(venue.connections),
        }
        return web.Response(body=msgspec.json.encode(log), content_type="application/json")


def _within(time_ms: int, asked: dict[str, str]) -> bool:
    return int(asked.get("startTime", 0)) <= time_ms <= int(asked.get("endTime", 1 << 62))


def rest_routes(venue: Venue, listen_key: str) -> list[web.RouteDef]:
    """The venue's paths and the controls."""
    return _Rest(venue, listen_key).routes() + _Controls(venue).routes()
