"""What strategies say becomes control records, checked line by line: they run an operator's code.

What asks for something goes on to trade; without an account every order is denied at once, on
record. It knows no process and no ring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, final

import orjson

from strategy_runner.config import StrategyConfig
from strategy_runner.context import MANTISSA_MAX, TIMES_IN_FORCE
from strategy_runner.image import joined
from strategy_runner.runner import owner_of
from strategy_runner.wants import feed_of
from tickd.errors import TickdError

__all__ = ["Answers", "StrategySaidError"]

# What asks for something of a venue.
_ASKS: Final = frozenset({"intent", "cancel", "replace"})
_KINDS: Final = _ASKS | {"state", "warm", "failure", "restart", "decisions"}
_INTENT: Final = {
    "client_id": int,
    "instrument": int,
    "venue": str,
    "symbol": str,
    "side": str,
    "size": int,
    "time_in_force": str,
    "reduce_only": bool,
}
_WARM: Final = {"feed": str, "seq": int, "part": int, "parts": int, "image": str}
_SIDES: Final = ("A", "B")
# Of an image: 8 MiB in pieces of 48,000 bytes.
PARTS_MAX: Final = 256
REASON_CHARACTERS_MAX: Final = 512
CLIENT_ID_MAX: Final = (1 << 63) - 1


Trade = Callable[[dict[str, Any]], None]


class StrategySaidError(TickdError):
    """A strategy process said something that it cannot have meant."""


@final
class Answers:
    """Records the lines of one group of strategies."""

    def __init__(
        self,
        strategies: Sequence[StrategyConfig],
        record: Callable[[dict[str, object]], None],
        *,
        trade: Trade | None = None,
        keeps_image: bool = False,
    ) -> None:
        """Args.

        `trade`: takes intents, cancels and replaces that were checked and recorded; `keeps_image`:
        what was said to be known at the beginning is also kept, for `image`.
        """
        self.feed: Final = feed_of(strategies[0])
        self._keeps_image = keeps_image
        self._image: list[str] = []
        self._image_parts = 0
        self._owners = {config.name: owner_of(config.name) for config in strategies}
        self._record = record
        self._trade: Trade = trade or self._deny
        self.intents: dict[str, int] = dict.fromkeys(self._owners, 0)
        self.decisions: dict[str, dict[str, object]] = {}
        # Of strategies that came back while their process ran; over all processes.
        self.restarts: dict[str, int] = dict.fromkeys(self._owners, 0)
        # The last thing that each raised, and at which event.
        self.failures: dict[str, str] = dict.fromkeys(self._owners, "")
        self.failed_seqs: dict[str, int] = dict.fromkeys(self._owners, 0)

    def trade_with(self, around: Callable[[Trade], Trade]) -> None:
        """Put something around what takes intents, cancels and replaces."""
        self._trade = around(self._trade)

    def take(self, line: bytes) -> None:
        """Record a line, and what becomes of it. Raises StrategySaidError: nothing was recorded."""
        fields = self._checked(line)
        if fields["kind"] in _ASKS:
            self._check_client_id(fields)
            self._check_ask(fields)
        if fields["kind"] in ("failure", "restart") and type(fields.get("seq")) is not int:
            raise StrategySaidError(f"a {fields['kind']} at {str(fields.get('seq'))[:80]!r}")
        if fields["kind"] == "warm":
            self._check_warm(fields)
            self._keep_image(fields)
        self._record(fields)
        strategy = str(fields["strategy"])
        if fields["kind"] == "decisions":
            self.decisions[strategy] = fields
        if fields["kind"] == "failure":
            self.failed_seqs[strategy] = fields["seq"]
            self.failures[strategy] = str(fields.get("reason"))[:REASON_CHARACTERS_MAX]
        if fields["kind"] == "restart":
            self.restarts[strategy] += 1
        if fields["kind"] == "intent":
            self.intents[strategy] += 1
        if fields["kind"] in _ASKS:
            self._trade(fields)

    def image(self) -> bytes | None:
        """Return the last image that was recorded, once; None where there is no whole one.

        Raises StrategyError: it is damaged.
        """
        kept, self._image = self._image, []
        return joined(kept) if kept and len(kept) == self._image_parts else None

    def _keep_image(self, fields: dict[str, Any]) -> None:
        if self._keeps_image:
            if fields["part"] == 0:
                self._image = []
            self._image.append(fields["image"])
            self._image_parts = fields["parts"]

    def _checked(self, line: bytes) -> dict[str, Any]:
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError:
            fields = None
        if not isinstance(fields, dict) or fields.get("kind") not in _KINDS:
            raise StrategySaidError(f"no line of a strategy: {line[:80]!r}")
        if fields.get("strategy") not in self._owners:
            raise StrategySaidError(f"a line of strategy {str(fields.get('strategy'))[:80]!r}")
        return fields

    def _check_warm(self, fields: dict[str, Any]) -> None:
        for key, kind in _WARM.items():
            if type(fields.get(key)) is not kind:
                raise StrategySaidError(f"an image whose {key} is {str(fields.get(key))[:80]!r}")
        if fields["feed"] != self.feed:
            raise StrategySaidError(f"an image of feed {fields['feed'][:80]!r}")
        if not 0 <= fields["part"] < fields["parts"] <= PARTS_MAX:
            raise StrategySaidError(f"part {fields['part']} of {fields['parts']} of an image")

    def _check_client_id(self, fields: dict[str, Any]) -> None:
        client_id = fields.get("client_id")
        if type(client_id) is not int or not 0 <= client_id <= CLIENT_ID_MAX:
            raise StrategySaidError(f"an order with client id {str(client_id)[:80]!r}")
        if client_id >> 32 != self._owners[fields["strategy"]]:
            raise StrategySaidError(f"an order with the client id of another: {client_id}")

    def _check_ask(self, fields: dict[str, Any]) -> None:
        """Types and ranges; whether it makes sense is the gate's to say."""
        if fields["kind"] == "cancel":
            return
        if fields["kind"] == "intent":
            self._check_intent(fields)
        size, price = fields.get("size"), fields.get("price")
        for mantissa in (size, 0 if price is None else price):
            if type(mantissa) is not int or abs(mantissa) > MANTISSA_MAX:
                raise StrategySaidError(f"an order whose price or size is {str(mantissa)[:80]!r}")

    def _check_intent(self, fields: dict[str, Any]) -> None:
        for key, kind in _INTENT.items():
            if type(fields.get(key)) is not kind:
                raise StrategySaidError(f"an intent whose {key} is {str(fields.get(key))[:80]!r}")
        if fields["side"] not in _SIDES or not 0 <= fields["instrument"] < 1 << 32:
            raise StrategySaidError(f"an intent on side {fields['side'][:8]!r}")
        if fields["time_in_force"] not in TIMES_IN_FORCE:
            raise StrategySaidError(f"an intent that is {fields['time_in_force'][:80]!r}")

    def _deny(self, fields: dict[str, Any]) -> None:
        """Answer an order that has nowhere to go.

        It comes back through the feed like any event, so that a replay has it, too.
        """
        if fields["kind"] == "intent":
            keys = ("strategy", "client_id", "venue", "symbol", "instrument", "side")
            named = {key: fields[key] for key in keys}
            self._record({"kind": "order", **named, "state": "denied", "reason": "no account"})
