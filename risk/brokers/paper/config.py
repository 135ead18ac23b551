"""What an operator says about a paper account: money, latency, queue, fees, faults.

It is checked here and handed to the native exchange as JSON; it decides nothing.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Final, Literal

import msgspec

from risk.brokers.port import AccountSection
from risk.orders import MONEY_SCALE
from tickd.errors import TickdError
from tickd.units import decimal_to_mantissa

__all__ = ["CONFIG", "PaperConfig", "PaperFaults"]

_CURRENCY: Final = re.compile(r"[A-Z0-9]{2,12}")
_LATENCY_MAX_US: Final = 60_000_000
_SAMPLES_MAX: Final = 1 << 16
_MILLION: Final = 1_000_000
_RATES: Final = ("maker_rate", "taker_rate", "sell_rate")
_BOUNDS: Final = {
    "queue_power": (1, 3),
    "leverage": (1, 1_000),
    "open_orders_max": (1, 1 << 16),
    "seed": (0, (1 << 63) - 1),
}


class PaperFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes wrong on purpose, as shares from 0 to 1.

    lost_ack_share: answers (to new orders, cancels, replaces) that are never told though the venue
    did what was asked. late_ack_share: told `late_ack_ms` late, so that fills come before them.
    lost_request_share: the venue never hears of it. duplicate_share: reports that come twice.
    """

    reject_share: float = 0.0
    lost_request_share: float = 0.0
    lost_ack_share: float = 0.0
    late_ack_share: float = 0.0
    late_ack_ms: int = 1_000
    duplicate_share: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name.endswith("_share") and not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"faults: {name} must lie within 0 and 1")
        if not 0 <= self.late_ack_ms <= _LATENCY_MAX_US // 1_000:
            raise ValueError(f"faults: late_ack_ms is {self.late_ack_ms}, 0 to 60000 possible")

    def shares_ppm(self) -> dict[str, int]:
        """Shares in parts per million, and how late in ns."""
        told = {
            name.replace("_share", "_ppm"): round(getattr(self, name) * _MILLION)
            for name in self.__struct_fields__
            if name.endswith("_share")
        }
        return {**told, "late_ack_ns": self.late_ack_ms * 1_000_000}


class PaperConfig(AccountSection, frozen=True, kw_only=True, tag="paper"):
    """One paper account.

    balance: money at the start. entry_us, response_us: the ways to the venue and back: one value,
    or samples that orders draw from. Rates: of the traded value; a negative one is paid to us;
    sell_rate: a tax on sells; unit_fee: money per whole unit of size. books: `venue:symbol`
    patterns of the instruments whose whole book is kept; others have the quoted level alone.
    """

    balance: str = "100000"
    leverage: int = 1
    queue: Literal["risk_averse", "prob"] = "risk_averse"
    queue_power: int = 2
    entry_us: tuple[int, ...] = (5_000,)
    response_us: tuple[int, ...] = (5_000,)
    maker_rate: str = "0.0002"
    taker_rate: str = "0.0005"
    sell_rate: str = "0"
    unit_fee: str = "0"
    books: tuple[str, ...] = ()
    open_orders_max: int = 1_000
    seed: int = 1
    faults: PaperFaults = PaperFaults()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _CURRENCY.fullmatch(self.currency):
            raise ValueError(f"currency {self.currency!r}: 2 to 12 upper-case letters and digits")
        for key, (least, most) in _BOUNDS.items():
            if not least <= (value := getattr(self, key)) <= most:
                raise ValueError(f"{key} is {value}, {least} to {most} possible")
        for pattern in self.books:
            if pattern.count(":") != 1:
                raise ValueError(f"books: {pattern!r} is not venue:symbol")
        self._check_latencies()
        self._check_money()

    def _check_latencies(self) -> None:
        for key in ("entry_us", "response_us"):
            samples = getattr(self, key)
            if not 1 <= len(samples) <= _SAMPLES_MAX:
                raise ValueError(f"{key} needs 1 to {_SAMPLES_MAX} values")
            if not all(0 <= sample <= _LATENCY_MAX_US for sample in samples):
                raise ValueError(f"{key}: 0 to {_LATENCY_MAX_US} possible")

    def _check_money(self) -> None:
        for key in ("balance", *_RATES, "unit_fee"):
            try:
                value = self._money(key)
            except TickdError as error:
                raise ValueError(f"{key}: {error}") from error
            if key in _RATES and abs(value) >= 10**MONEY_SCALE:
                raise ValueError(f"{key} must lie within -1 and 1")
        if self._money("balance") < 0:
            raise ValueError("balance must not be negative")

    def _money(self, key: str) -> int:
        return decimal_to_mantissa(getattr(self, key), MONEY_SCALE)

    @property
    def balance_money(self) -> int:
        """The balance in 1e-8."""
        return self._money("balance")

    def follows(self, venue: str, symbol: str) -> bool:
        """Whether the whole book of an instrument is kept."""
        return any(fnmatchcase(f"{venue}:{symbol}", pattern) for pattern in self.books)

    def exchange_json(self) -> bytes:
        """What the native exchange reads."""
        rates = {key: self._money(key) for key in (*_RATES, "unit_fee")}
        return msgspec.json.encode(
            {
                "seed": self.seed,
                "queue": self.queue,
                "queue_power": self.queue_power,
                "entry_ns": [sample * 1_000 for sample in self.entry_us],
                "response_ns": [sample * 1_000 for sample in self.response_us],
                **rates,
                "open_orders_max": self.open_orders_max,
                "faults": self.faults.shares_ppm(),
            }
        )


CONFIG: Final = PaperConfig
