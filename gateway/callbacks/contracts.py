"""What the SDK knows of the symbols that are wanted, kept current in the raw log.

Asks when told to, records definitions that are new or changed, and which name stands for which code
today. It subscribes to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from gateway.callbacks.venue import Contract, SdkClient
from gateway.errors import QueryFailedError
from gateway.instruments import InstrumentDefinition, control_record
from gateway.status import Counters
from gateway.subscriptions.wishes import Listing, Wanted
from tickd.ports import RawTap

log = structlog.get_logger(__name__)

Record = Callable[[dict[str, object]], None]


class Contracts:
    """The contracts of one venue, over all its logins."""

    def __init__(self, venue: str, wanted: Wanted, *, tap: RawTap, counters: Counters) -> None:
        self._venue = venue
        self._wanted = wanted
        self._tap = tap
        self._counters = counters
        self._recorded: dict[str, InstrumentDefinition] = {}
        self._aliases: dict[str, str] = {}
        self._known: dict[str, Contract] = {}
        self._unknown: set[str] = set()  # asked for, and the SDK has none
        self._listed: frozenset[str] | None = None  # what patterns select from; None: not read
        self.loaded = False  # the SDK has answered once

    @property
    def count(self) -> int:
        """Definitions recorded and current."""
        return len(self._recorded)

    @property
    def missing(self) -> tuple[str, ...]:
        """Symbols named in full that the SDK does not know; empty until it has answered."""
        if not self.loaded:
            return ()
        return tuple(symbol for symbol in self._wanted.named if symbol not in self._known)

    @property
    def listing(self) -> Listing | None:
        """The symbols that exist, as far as they were asked for; None until the SDK answered."""
        if not self.loaded:
            return None
        listed = self._listed or frozenset()
        names = (listed | self._known.keys()) - self._unknown
        return Listing(names, listed - self._unknown, frozenset(self._unknown))

    @property
    def lacks_listing(self) -> bool:
        """Whether patterns wait for the list of all symbols."""
        return self._wanted.needs_listing and self._listed is None

    def ask_for(self, wanted: Wanted) -> None:
        """The next refresh has to cover `wanted`."""
        self._wanted = wanted

    def of(self, symbol: str) -> Contract | None:
        """What is known of `symbol`."""
        return self._known.get(symbol)

    def of_code(self, code: str) -> Contract | None:
        """The contract under whose `code` round lots arrive."""
        for each in self._known.values():
            if each.code == code and each.market != "odd":
                return each
        return None

    def lacking(self, symbols: Iterable[str]) -> tuple[str, ...]:
        """Those of `symbols` that nobody has asked for yet."""
        return tuple(
            symbol
            for symbol in dict.fromkeys(symbols)
            if symbol not in self._known and symbol not in self._unknown
        )

    async def refresh(self, client: SdkClient, planned: Iterable[str], record: Record) -> None:
        """Ask for the list, where patterns need it, and for everything named or planned."""
        try:
            if self._wanted.needs_listing:
                # Beyond the traffic limit an answer is empty: the last list stays.
                listed = frozenset(await client.listing())
                self._listed = listed or self._listed
            symbols = tuple(dict.fromkeys((*self._wanted.named, *planned)))
            found = await client.contracts(symbols)
        except QueryFailedError as error:
            self._failed(error)
            return
        self._take(symbols, found, record)
        self.loaded = True
        if missing := self.missing:
            log.error("symbols_not_listed", venue=self._venue, symbols=list(missing[:20]))

    async def add(self, client: SdkClient, symbols: Sequence[str], record: Record) -> bool:
        """Ask for more symbols; False: there was no answer."""
        try:
            found = await client.contracts(symbols)
        except QueryFailedError as error:
            self._failed(error)
            return False
        self._take(symbols, found, record)
        return True

    def _failed(self, error: QueryFailedError) -> None:
        self._counters.instrument_failures += 1
        log.warning("instruments_failed", venue=self._venue, words=str(error))

    def _take(self, asked: Iterable[str], found: Iterable[Contract], record: Record) -> None:
        """What is new goes on record before any frame that needs it."""
        # An empty answer beyond the traffic limit must not end what is subscribed: what was known
        # once stays known.
        for contract in found:
            self._define(contract, record)
            self._known[contract.symbol] = contract
        self._unknown.update(symbol for symbol in asked if symbol not in self._known)
        self._unknown.difference_update(self._known)

    def _define(self, contract: Contract, record: Record) -> None:
        for definition in contract.definitions:
            if self._recorded.get(definition.symbol) != definition:
                self._tap.record(0, "C", control_record(definition))
                self._recorded[definition.symbol] = definition
                self._counters.instruments_recorded += 1
        symbol, code = contract.symbol, contract.code
        if code != symbol and self._aliases.get(symbol) != code:
            self._aliases[symbol] = code
            record({"kind": "alias", "symbol": symbol, "code": code})
