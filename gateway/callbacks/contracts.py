"""What the SDK knows of the configured symbols, kept current in the raw log.

Asks when told to, records definitions that are new or changed, and which name stands for which code
today. It subscribes to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from gateway.callbacks.venue import Contract, SdkClient
from gateway.errors import QueryFailedError
from gateway.instruments import InstrumentDefinition, control_record
from gateway.status import Counters
from tickd.ports import RawTap

log = structlog.get_logger(__name__)


class Contracts:
    """The contracts of one venue, over all its logins."""

    def __init__(
        self, venue: str, symbols: Sequence[str], *, tap: RawTap, counters: Counters
    ) -> None:
        self._venue = venue
        self._symbols = tuple(symbols)
        self._tap = tap
        self._counters = counters
        self._recorded: dict[str, InstrumentDefinition] = {}
        self._aliases: dict[str, str] = {}
        self.known: tuple[Contract, ...] = ()
        self.loaded = False  # the SDK has answered once

    @property
    def count(self) -> int:
        """Definitions recorded and current."""
        return len(self._recorded)

    @property
    def missing(self) -> tuple[str, ...]:
        """Configured symbols that the SDK does not know; empty until it has answered."""
        if not self.loaded:
            return ()
        found = {contract.symbol for contract in self.known}
        return tuple(symbol for symbol in self._symbols if symbol not in found)

    async def refresh(self, client: SdkClient, record: Callable[[dict[str, object]], None]) -> None:
        """Ask for all symbols; what is new goes on record before any frame that needs it."""
        try:
            contracts = await client.contracts(self._symbols)
        except QueryFailedError as error:
            self._counters.instrument_failures += 1
            log.warning("instruments_failed", venue=self._venue, words=str(error))
            return
        self.loaded = True
        for contract in contracts:
            self._define(contract, record)
        # An empty answer beyond the traffic limit must not end what is subscribed.
        found = {contract.symbol for contract in contracts}
        kept = tuple(each for each in self.known if each.symbol not in found)
        self.known = contracts + kept
        if missing := self.missing:
            log.error("symbols_not_listed", venue=self._venue, symbols=list(missing[:20]))

    def _define(self, contract: Contract, record: Callable[[dict[str, object]], None]) -> None:
        for definition in contract.definitions:
            if self._recorded.get(definition.symbol) != definition:
                self._tap.record(0, "C", control_record(definition))
                self._recorded[definition.symbol] = definition
                self._counters.instruments_recorded += 1
        symbol, code = contract.symbol, contract.code
        if code != symbol and self._aliases.get(symbol) != code:
            self._aliases[symbol] = code
            record({"kind": "alias", "symbol": symbol, "code": code})
