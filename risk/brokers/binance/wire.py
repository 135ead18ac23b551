"""What Binance is asked, as values: order requests of the WebSocket API, queries of REST.

Pure: integers and references in, names and texts out. Nothing is signed or sent here.

Sources, read 2026-11-21: binance-spot-api-docs web-socket-api.md and rest-api.md (2025-04-25);
developers.binance.com derivatives/usds-margined-futures, websocket-api and rest-api.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from risk.brokers.binance.config import Market
from risk.brokers.binance.signing import Params
from risk.errors import NotSentError
from risk.orders import Request, Side, TimeInForce, Wanted
from tickd.units import INT64_MAX, mantissa_to_text

__all__ = ["Call", "Query", "RequestId", "Scales", "Wire"]

PAGE_MAX: Final = 1_000
SIDES: Final[dict[Side, str]] = {"B": "BUY", "A": "SELL"}
_TIMES: Final[dict[TimeInForce, str]] = {"gtc": "GTC", "ioc": "IOC", "fok": "FOK"}
_REF: Final = re.compile(r"[0-9A-Za-z]{1,19}")
_REQUEST_ID: Final = re.compile(r"([ncr])\d+-([0-9A-Za-z]{1,19})")


class Scales(NamedTuple):
    """Decimals of an instrument's price and size mantissas."""

    price: int
    size: int


class Call(NamedTuple):
    """A request of the WebSocket API without its id, time and signature."""

    method: str
    params: Params


class Query(NamedTuple):
    """A REST request without time and signature. keyed: with the API key, and no more."""

    method: str
    path: str
    params: Params
    weight: int
    security: str = "signed"  # "signed" | "keyed" | "open"


class RequestId(NamedTuple):
    """What an answer's id says: n(ew), c(ancel) or r(eplace), and of which order.

    It says so itself: the answer to a request that was given up still finds its order.
    """

    kind: str
    ref: str

    @staticmethod
    def text(kind: str, number: int, ref: str) -> str:
        return f"{kind}{number}-{ref}"

    @classmethod
    def read(cls, text: object) -> RequestId | None:
        found = _REQUEST_ID.fullmatch(text) if isinstance(text, str) else None
        return cls(found[1], found[2]) if found else None


class Wire:
    """The requests of one market; `prefix` marks what is ours."""

    def __init__(self, market: Market, prefix: str) -> None:
        self.market: Final = market
        self._prefix: Final = prefix
        self._root: Final = "/api/v3" if market == "spot" else "/fapi/v1"

    # Ids ------------------------------------------------------------------------------------

    def client_id(self, ref: str) -> str:
        """Raises NotSentError: `ref` is none."""
        if not _REF.fullmatch(ref):
            raise NotSentError(f"{ref!r} is no order reference")
        return self._prefix + ref

    def ref_of(self, client_id: str) -> str:
        """Our reference; empty for an order of somebody else."""
        ref = client_id.removeprefix(self._prefix)
        return ref if ref != client_id and _REF.fullmatch(ref) else ""

    # Orders: WebSocket API ------------------------------------------------------------------

    def new_order(self, request: Request, ref: str, scales: Scales) -> Call:
        """Raises NotSentError: the venue has no such order."""
        params: dict[str, str | int] = {
            "symbol": request.symbol,
            "side": SIDES[request.side],
            "quantity": decimal(request.size, scales.size, "size"),
            "newClientOrderId": self.client_id(ref),
            "newOrderRespType": "ACK",
        }
        spot = self.market == "spot"
        if request.price is None:
            params["type"] = "MARKET"
        else:
            params["price"] = decimal(request.price, scales.price, "price")
            params["type"] = "LIMIT"
            if request.time_in_force != "post_only":
                params["timeInForce"] = _TIMES[request.time_in_force]
            elif spot:
                params["type"] = "LIMIT_MAKER"
            else:
                params["timeInForce"] = "GTX"
        # Spot has no such flag: a sale there cannot exceed what is held.
        if request.reduce_only and not spot:
            params["reduceOnly"] = "true"
        return Call("order.place", params)

    def cancel(self, order: Wanted) -> Call:
        return Call("order.cancel", {"symbol": order.symbol, **self._named(order)})

    def cancel_query(self, order: Wanted) -> Query:
        """The same over REST."""
        return Query("DELETE", f"{self._root}/order", self.cancel(order).params, 1)

    def replace(self, order: Wanted, *, price: int | None, size: int, scales: Scales) -> Call:
        """Raises NotSentError: the venue cannot change that in place.

        Spot lessens the size and changes nothing else; its cancelReplace is a new order with a
        size of its own, which overfills when the old one is filled on the way: not offered.
        """
        if price is None or order.price is None:
            raise NotSentError("a market order has no price to replace")
        quantity = decimal(size, scales.size, "size")
        params: dict[str, str | int] = {"symbol": order.symbol, **self._named(order)}
        if self.market == "usdm":
            params |= {
                "side": SIDES[order.side],
                "quantity": quantity,
                "price": decimal(price, scales.price, "price"),
            }
            return Call("order.modify", params)
        if price != order.price or size >= order.size:
            raise NotSentError(
                "spot changes nothing but the size, downwards: cancel and place a new order"
            )
        # Without this the venue makes up an id, and the order is no longer ours.
        params |= {"newQty": quantity, "newClientOrderId": self.client_id(order.ref)}
        return Call("order.amend.keepPriority", params)

    def _named(self, order: Wanted) -> dict[str, str | int]:
        number = order.venue_id.rpartition(":")[2]
        if number.isascii() and number.isdigit():
            return {"orderId": int(number)}
        return {"origClientOrderId": self.client_id(order.ref)}

    # Questions: REST ------------------------------------------------------------------------

    def server_time(self) -> Query:
        return Query("GET", f"{self._root}/time", {}, 1, "open")

    def open_orders(self, symbol: str | None = None) -> Query:
        """Open orders of a symbol, or of all of them at once."""
        spot = self.market == "spot"
        path = f"{self._root}/openOrders"
        if symbol is None:
            return Query("GET", path, {}, 80 if spot else 40)
        return Query("GET", path, {"symbol": symbol}, 6 if spot else 1)

    def open_orders_of(self, symbols: Sequence[str]) -> tuple[Query, ...]:
        """The cheaper way to ask for the open orders of `symbols`."""
        every, each = self.open_orders(), [self.open_orders(symbol) for symbol in symbols]
        return tuple(each) if sum(one.weight for one in each) < every.weight else (every,)

    def cancel_by_id(self, symbol: str, number: int) -> Query:
        """Cancel an order that was listed."""
        return Query("DELETE", f"{self._root}/order", {"symbol": symbol, "orderId": number}, 1)

    def all_orders(self, symbol: str, begin_ms: int, end_ms: int) -> Query:
        return self._window("allOrders", symbol, begin_ms, end_ms)

    def trades(self, symbol: str, begin_ms: int, end_ms: int) -> Query:
        name = "myTrades" if self.market == "spot" else "userTrades"
        return self._window(name, symbol, begin_ms, end_ms)

    def _window(self, name: str, symbol: str, begin_ms: int, end_ms: int) -> Query:
        window: dict[str, str | int] = {
            "symbol": symbol,
            "startTime": begin_ms,
            "endTime": end_ms,
            "limit": PAGE_MAX,
        }
        return Query("GET", f"{self._root}/{name}", window, 20 if self.market == "spot" else 5)

    def account(self) -> Query:
        if self.market == "spot":
            return Query("GET", "/api/v3/account", {"omitZeroBalances": "true"}, 20)
        return Query("GET", "/fapi/v3/account", {}, 5)

    # USD-M alone ----------------------------------------------------------------------------

    def positions(self) -> Query:
        return Query("GET", "/fapi/v3/positionRisk", {}, 5)

    def position_mode(self) -> Query:
        return Query("GET", "/fapi/v1/positionSide/dual", {}, 30)

    def listen_key(self, method: str) -> Query:
        """POST makes one, PUT keeps it for another hour."""
        return Query(method, "/fapi/v1/listenKey", {}, 1, "keyed")

    def countdown(self, symbol: str, countdown_ms: int) -> Query:
        params: dict[str, str | int] = {"symbol": symbol, "countdownTime": countdown_ms}
        return Query("POST", "/fapi/v1/countdownCancelAll", params, 10)


def decimal(mantissa: int, scale: int, what: str) -> str:
    """The value without trailing zeros, which some symbols refuse as too much precision.

    Raises NotSentError: no positive mantissa.
    """
    if not 0 < mantissa < INT64_MAX:
        raise NotSentError(f"{what} {mantissa} is no positive mantissa")
    text = mantissa_to_text(mantissa, scale)
    return text.rstrip("0").rstrip(".") if "." in text else text
