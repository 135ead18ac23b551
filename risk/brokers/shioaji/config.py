"""The account table of the broker `shioaji`: who logs in, for which account, within what bounds.

Credentials are `Secret`s, written as files. It reads nothing and opens nothing.
"""

from __future__ import annotations

from typing import Final, Literal

from risk.brokers.port import AccountSection
from tickd.secrets import Secret

__all__ = ["CONFIG", "ShioajiAccountConfig"]

# What the venue allows of placing, updating and cancelling, all together (official page, 2026-07).
ORDERS_PER_10S: Final = 250
ACCOUNTING_PER_5S: Final = 25


class ShioajiAccountConfig(AccountSection, frozen=True, kw_only=True, tag="shioaji"):
    """One account of one login. Two accounts are two logins, of five that a person may have.

    symbols: what may be traded, in the venue's words (`2330`, `2330-ODD`, `TXFF6`, `TXFR1`);
    anything else is refused before it leaves.
    """

    currency: str = "TWD"
    api_key: Secret
    secret_key: Secret
    symbols: tuple[str, ...]
    market: Literal["stock", "futures"] = "stock"
    account_id: str = ""  # of several accounts of that market; empty: the login's default
    simulation: bool = False  # the broker's test environment; needs no certificate
    ca_path: str = ""  # the certificate (.pfx); without it the venue takes no real order
    ca_password: Secret | None = None
    person_id: Secret | None = None  # of the certificate, where it is not the login's
    simulation_funds: int | None = None  # TWD; the test environment says 0 for every balance
    # A price of None, on futures and options. The exchange takes MKT with ioc and fok only.
    market_price_type: Literal["MKT", "MKP"] = "MKT"
    cancels_foreign: bool = True  # cancel-all takes back what a person entered by hand, too
    orders_per_10s_max: int = ORDERS_PER_10S
    cancels_share: float = 0.2  # of it that only cancels may use
    accounting_per_5s_max: int = 20
    queue_orders_max: int = 64  # that may wait for the order thread
    queue_age_ms_max: int = 500  # a new order that waited longer does not leave any more
    queue_records_max: int = 8_192  # callbacks that may wait for the loop
    identify_seconds_max: float = 10.0  # for the venue's id, before a cancel is given up
    call_timeout_seconds: float = 30.0  # of a login or a query
    probe_seconds: float = 5.0  # between two proofs that the session is alive
    probe_failures_max: int = 2  # in a row, then the line is down
    down_seconds_max: float = 60.0  # for the SDK's own reconnecting, before a new login
    logins_per_day_max: int = 50
    cancel_all_seconds: float = 20.0  # until cancel-all says what is left

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
                raise ValueError(f"{field} must be positive")
        if not self.symbols:
            raise ValueError("symbols is empty: nothing could be traded")
        if self.orders_per_10s_max > ORDERS_PER_10S:
            raise ValueError(f"orders_per_10s_max is at most {ORDERS_PER_10S}, the venue's limit")
        if self.accounting_per_5s_max > ACCOUNTING_PER_5S:
            raise ValueError(f"accounting_per_5s_max is at most {ACCOUNTING_PER_5S}")
        if not self.cancels_share < 1:
            raise ValueError("cancels_share must be below 1")
        if not self.simulation and not (self.ca_path and self.ca_password):
            raise ValueError("real orders need ca_path and ca_password, or simulation = true")
        if self.simulation_funds is not None and not self.simulation:
            raise ValueError("simulation_funds is for simulation = true")


CONFIG: Final = ShioajiAccountConfig
