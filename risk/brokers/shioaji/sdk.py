"""The one place of order entry that touches Shioaji's SDK: login, certificate, calls, lists.

Thin and blocking: it runs on the order thread and on threads of queries, never on the loop. What is
called back goes to `put` as it is. Secrets are passed on and kept out of every message.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple

from risk.brokers.shioaji.config import ShioajiAccountConfig
from risk.brokers.shioaji.inbox import Item, SessionEvent, Told
from risk.brokers.shioaji.requests import OrderShape
from risk.brokers.shioaji.wire import ODD_SUFFIX, text_of

__all__ = ["PACKAGE", "Contract", "Factory", "ShioajiOrders", "account_of", "secrets_of"]

# The SDK's module, and the extra that installs it.
PACKAGE: Final = "shioaji"
NOT_SUBSCRIBED: Final = "NotSubscribed"
# Of a list that was asked for a moment ago: that kind of message has not come yet, that is all.
NO_BASELINE: Final = "NoBaseline"

Factory = Callable[[bool], Any]
Put = Callable[[Item], None]


class Contract(NamedTuple):
    """A configured symbol: under which name it trades today, and the SDK's own object."""

    symbol: str
    handle: Any


class NoAccountError(ValueError):
    """The login has no such account."""


def installed() -> Factory:
    """The SDK's own class, imported now and not before."""
    kind = import_module(PACKAGE).Shioaji
    return lambda simulation: kind(simulation=simulation)


def secrets_of(config: ShioajiAccountConfig) -> tuple[str, ...]:
    """What must never be in a message."""
    held = (config.api_key, config.secret_key, config.ca_password, config.person_id)
    return tuple(secret.reveal() for secret in held if secret)


def account_of(accounts: list[Any], config: ShioajiAccountConfig) -> Any:
    """The account to trade on. Raises NoAccountError."""
    kind = {"stock": "S", "futures": "F"}[config.market]
    mine = [each for each in accounts if text_of(each.account_type) == kind]
    if config.account_id:
        mine = [each for each in mine if text_of(each.account_id) == config.account_id]
    if not mine:
        raise NoAccountError(f"the login has no {config.market} account of that number")
    return mine[0]


class ShioajiOrders:
    """One login. A client that was closed is not opened again."""

    def __init__(self, config: ShioajiAccountConfig, put: Put, factory: Factory | None) -> None:
        self._config = config
        self._put = put
        self._factory = factory
        self._api: Any = None  # an object of the SDK, or of its stand-in
        self.account: Any = None

    def open(self) -> None:
        """Log in, activate the certificate, choose the account, register the callbacks.

        The SDK refuses an order callback before the login ("Not authenticated", 1.7.9); that of
        session events it takes.
        """
        config = self._config
        self._api = (self._factory or installed())(config.simulation)
        self._api.set_event_callback(self._on_event)
        accounts = self._api.login(
            config.api_key.reveal(), config.secret_key.reveal(), subscribe_trade=True
        )
        self._api.set_order_callback(self._on_order)
        self._api.set_session_down_callback(self._on_down)
        self.account = account_of(list(accounts), config)
        if not config.simulation:
            assert config.ca_password is not None  # checked with the configuration
            person = config.person_id.reveal() if config.person_id else None
            self._api.activate_ca(config.ca_path, config.ca_password.reveal(), person)
        if NOT_SUBSCRIBED in self.health():
            # A cached token keeps the subscriptions of the login before; asked for twice, other
            # accounts of the session may lose theirs (pro app of the vendor, ADR 0003, 2026-09).
            self._api.subscribe_trade(self.account)

    def close(self) -> None:
        """Log out."""
        api, self._api = self._api, None
        if api is not None:
            api.logout()

    # The SDK's threads --------------------------------------------------------------------------

    def _on_order(self, state: Any, message: Any) -> None:
        self._put(Told(state, message))

    def _on_event(self, resp_code: int, event_code: int, info: str, event: str) -> None:
        del resp_code, info
        self._put(SessionEvent(int(event_code), str(event)))

    def _on_down(self) -> None:
        self._put(SessionEvent(1, "session down"))

    # Orders: the order thread -------------------------------------------------------------------

    def native(self, shape: OrderShape) -> Any:
        """The SDK's order object of `shape`. Makes no call; may run anywhere."""
        sdk = import_module(PACKAGE)
        plain = {
            "action": shape.action,
            "price": shape.price,
            "quantity": shape.quantity,
            "price_type": shape.price_type,
            "time_in_force": shape.time_in_force,
            "custom_field": shape.custom_field,
            "account": self.account,
        }
        if shape.market == "futures":
            return sdk.FuturesOrder(**plain, octype=shape.octype)
        return sdk.StockOrder(**plain, order_lot=shape.order_lot, order_cond=shape.order_cond)

    def place(self, contract: Any, native: Any, answer: Callable[[Any], None]) -> Any:
        return self._api.place_order(contract, native, timeout=0, cb=answer)

    def change(
        self,
        trade: Any,
        *,
        price: float | None,
        less: int | None,
        answer: Callable[[Any], None],
    ) -> None:
        """`less`: how much to take away; the venue does not add."""
        wanted = {"price": price} if price is not None else {"qty": less}
        self._api.update_order(trade, **wanted, timeout=0, cb=answer)

    def cancel(self, trade: Any, answer: Callable[[Any], None]) -> None:
        self._api.cancel_order(trade, timeout=0, cb=answer)

    def find(self, venue_id: str) -> Any:
        """The SDK's own Trade of an order, from its cache: no round trip; None: not there."""
        return next((each for each in self.cached() if text_of(each.order.id) == venue_id), None)

    # Lists: threads of queries ------------------------------------------------------------------

    def contracts(self) -> list[Contract]:
        """What is known of the configured symbols; a continuous month under its real code, too."""
        found: list[Contract] = []
        for symbol in self._config.symbols:
            info = self._api.contracts.get(symbol.removesuffix(ODD_SUFFIX))
            if info is None:
                continue
            found.append(Contract(symbol, info))
            code = text_of(getattr(info, "target_code", None))
            if code:
                found.append(Contract(code, info))
        return found

    def refresh(self) -> None:
        """Ask the venue for today's orders of the account; they are in `cached` then."""
        timeout = round(self._config.call_timeout_seconds * 1000)
        self._api.update_status(self.account, timeout=timeout)

    def cached(self) -> list[Any]:
        """The account's Trades that the SDK knows; it lists those of every account of the login."""
        return [each for each in self._api.list_trades() if self._is_mine(each.order.account)]

    def _is_mine(self, account: Any) -> bool:
        if account is None:
            return True  # not said, and a login with one account says it of none
        mine = self.account
        return text_of(account.account_id) == text_of(mine.account_id) and text_of(
            account.broker_id
        ) == text_of(mine.broker_id)

    def records(self) -> list[Any]:
        """Today's order and deal messages, as (state, message); the test environment has none."""
        return list(self._api.order_deal_records(self.account))

    def positions(self) -> list[Any]:
        """Stocks in shares, so that odd lots are whole; futures in contracts."""
        unit = "Share" if self._config.market == "stock" else "Common"
        return list(self._api.list_positions(self.account, unit=unit))

    def funds(self) -> Any:
        """An AccountBalance or a Margin."""
        if self._config.market == "stock":
            return self._api.account_balance(self.account)
        return self._api.margin(self.account)

    def health(self) -> tuple[str, ...]:
        """Why the SDK's own cache may have missed a message; empty: it has not."""
        said = self._api.trade_cache_health(self.account)
        reasons = tuple(text_of(each.reason) for each in said.reasons)
        if reasons or text_of(said.state) == "Healthy":
            return tuple(each for each in reasons if each != NO_BASELINE)
        return (text_of(said.state),)

    def probe(self) -> None:
        """A round trip that costs nothing: a session may be dead while it looks logged in."""
        self._api.usage(timeout=round(self._config.probe_seconds * 1000))
