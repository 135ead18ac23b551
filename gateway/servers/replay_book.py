"""The book of a replayed symbol: the file's snapshot and the diffs played so far. Sans I/O."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class _Diff(msgspec.Struct):
    U: int
    u: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class _Message(msgspec.Struct):
    data: _Diff


class _Snapshot(msgspec.Struct):
    lastUpdateId: int  # noqa: N815 - the venue's word
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    E: int | None = None
    T: int | None = None
    symbol: str | None = None
    pair: str | None = None


_DIFF = msgspec.json.Decoder(_Message)
_SNAPSHOT = msgspec.json.Decoder(_Snapshot)
# Diffs played before the file's snapshot are kept to be applied on top of it.
EARLY_DIFFS_MAX = 100_000


class ReplayBook:
    """Levels as the venue wrote them; answers `depth` as of the last diff that was played."""

    def __init__(self) -> None:
        self._snapshot: _Snapshot | None = None
        self._early: list[_Diff] = []
        self._bids: dict[str, str] = {}
        self._asks: dict[str, str] = {}
        self._last_id = 0

    @property
    def is_known(self) -> bool:
        return self._snapshot is not None

    def play_diff(self, payload: bytes) -> None:
        """Follow a combined `depthUpdate` message."""
        diff = _DIFF.decode(payload).data
        if self._snapshot is None:
            if len(self._early) < EARLY_DIFFS_MAX:
                self._early.append(diff)
        elif diff.u > self._last_id:
            self._apply(diff)

    def play_snapshot(self, payload: bytes) -> None:
        """Take the file's REST snapshot: the truth about all levels. A later one replaces it."""
        snapshot = _SNAPSHOT.decode(payload)
        self._snapshot = snapshot
        self._bids = dict(snapshot.bids)
        self._asks = dict(snapshot.asks)
        self._last_id = snapshot.lastUpdateId
        early, self._early = self._early, []
        for diff in early:
            if diff.u > self._last_id:
                self._apply(diff)

    def answer(self, limit: int) -> bytes:
        """The REST reply with `limit` levels a side.

        Its `lastUpdateId` is the snapshot's own until a newer diff was played, afterwards the last
        diff's `u`: the next diff then has `pu == lastUpdateId` (futures) or `U == lastUpdateId + 1`
        (spot), which the venue's rules as recorded accept.
        """
        assert self._snapshot is not None
        reply: dict[str, object] = {"lastUpdateId": self._last_id}
        for key in ("E", "T", "symbol", "pair"):
            value = getattr(self._snapshot, key)
            if value is not None:
                reply[key] = value
        reply["bids"] = sorted(self._bids.items(), key=_price, reverse=True)[:limit]
        reply["asks"] = sorted(self._asks.items(), key=_price)[:limit]
        return msgspec.json.encode(reply)

    def _apply(self, diff: _Diff) -> None:
        for side, levels in ((self._bids, diff.b), (self._asks, diff.a)):
            for price, size in levels:
                if size.strip("0.") == "":
                    side.pop(price, None)
                else:
                    side[price] = size
        self._last_id = diff.u


def _price(level: tuple[str, str]) -> Decimal:
    return Decimal(level[0])
