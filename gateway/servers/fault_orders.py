"""Faults as an operator orders them: `gap@t=5,symbol=BTCUSDT,channel=trade,count=3`. Pure."""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from gateway.servers.config import Market
from tickd.errors import ConfigError

# Done to messages by the native market; the rest is done to connections by the server.
MESSAGE_FAULTS: Final = frozenset(
    {"gap", "duplicate", "reorder", "truncated", "non_utf8", "oversized", "skew"}
)
CONNECTION_FAULTS: Final = frozenset({"disconnect", "stall", "shutdown", "rest_down"})
# No fault, and no message is touched: what a ranking of the last day sees.
SURGE: Final = "surge"
KNOWN: Final = MESSAGE_FAULTS | CONNECTION_FAULTS | {SURGE}


class FaultOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault. t: seconds after the market started; 0 = at once.

    argument: position of the cut, bytes of filler, ms of skew, stall or REST outage, how many times
    as busy the last day was, by kind.
    client: a connection number; 0 = all of them.
    """

    kind: str
    t: float = 0.0
    market: Market | None = None
    symbol: str = ""
    channel: str = "trade"
    count: int = 1
    argument: int = 0
    client: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KNOWN:
            raise ConfigError(
                f"unknown fault {self.kind!r}", hint=f"known: {', '.join(sorted(KNOWN))}"
            )
        if self.market is not None and self.market not in get_args(Market):
            raise ConfigError(f"fault {self.kind}: unknown market {self.market!r}")
        if self.kind not in CONNECTION_FAULTS and not self.symbol:
            raise ConfigError(f"fault {self.kind} needs a symbol")
        if self.t < 0 or self.count < 1 or self.client < 0:
            raise ConfigError(
                f"fault {self.kind}: t {self.t}, count {self.count} or client is out of range"
            )
        if self.kind == SURGE and self.argument < 1:
            raise ConfigError(f"fault {SURGE}: argument is {self.argument}, at least 1 needed")

    @property
    def stream(self) -> str:
        return f"{self.symbol.lower()}@{self.channel}"


def parse_order(text: str) -> FaultOrder:
    """Return the order in `kind@key=value,…`. Raises ConfigError."""
    kind, _, rest = text.partition("@")
    fields: dict[str, str] = {"kind": kind.strip()}
    for part in filter(None, rest.split(",")):
        key, separator, value = part.partition("=")
        if not separator:
            raise ConfigError(f"fault {text!r}: {part!r} is not key=value")
        fields[key.strip()] = value.strip()
    try:
        return msgspec.convert(fields, FaultOrder, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"fault {text!r}: {error}") from error
