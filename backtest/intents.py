"""What the raw log says about orders: decisions, news, fills and money, as a what-if reads them.

And where in a chunk they stand, and where the prices of one burst end. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from recorder.raw.records import CHECKPOINT, heads_of
from recorder.raw.segments import first_frames
from recorder.trading.rows import kind_of
from risk.orders import Request, Side, TimeInForce
from tickd.native import RawLogReader, manifest_read

__all__ = ["CLOCK_STEP_NS", "Fields", "Moment", "cuts", "record_at", "request_of", "start_of"]

# Stamps follow the wall clock, which may step back.
CLOCK_STEP_NS: Final = 60 * 10**9
_CONTROL: Final = ord("C")
_KINDS: Final = frozenset({"risk", "order", "execution", "account", "start"})
_MARK: Final = b'"kind"'
# Prices of so long count as one burst, as old as its first: like those of a busy loop.
_BURST_NS: Final = 2_000_000


class Fields(msgspec.Struct, kw_only=True):
    """What a decision, an order's news or an execution says."""

    action: str = ""
    verdict: str = ""
    reason: str | None = None
    limits: str | None = None
    state: str = ""
    number: int | None = None
    client_id: int | None = None
    strategy: str | None = None
    account: str | None = None
    venue: str | None = None
    symbol: str | None = None
    instrument: int | None = None
    side: Side | None = None
    price: int | None = None
    size: int | None = None
    order_price: int | None = None
    order_size: int | None = None
    time_in_force: TimeInForce = "gtc"
    reduce_only: bool = False
    figures: dict[str, int | None] = {}
    # Of an account.
    currency: str | None = None
    equity: int | None = None
    free: int | None = None
    unrealised: int | None = None
    realised_day: int | None = None


class Moment(NamedTuple):
    frame_no: int
    recv_ns: int
    mono_ns: int


def request_of(fields: Fields) -> Request | None:
    if (
        fields.client_id is None
        or fields.instrument is None
        or fields.side is None
        or fields.size is None
    ):
        return None
    return Request(
        client_id=fields.client_id,
        strategy=fields.strategy or "",
        account=fields.account or "",
        instrument=fields.instrument,
        venue=fields.venue or "",
        symbol=fields.symbol or "",
        side=fields.side,
        price=fields.price,
        size=fields.size,
        time_in_force=fields.time_in_force,
        reduce_only=fields.reduce_only,
    )


def cuts(chunk: bytes, types: npt.NDArray[Any], stamps: npt.NDArray[Any]) -> Iterator[int]:
    """Rows at which decoding stops: control records, and the first of each burst."""
    bursts = stamps // _BURST_NS
    is_cut = np.empty(len(stamps), bool)
    is_cut[0] = False
    is_cut[1:] = bursts[1:] != bursts[:-1]
    if _MARK in chunk:
        is_cut |= types == _CONTROL
    yield from np.flatnonzero(is_cut).tolist()


def record_at(chunk: bytes, start: int, end: int) -> tuple[str, Moment, bytes] | None:
    """A control record that matters here; None: another record."""
    frame_no, recv_ns, mono_ns, _, kind, rest = chunk[start:end].split(b" ", 5)
    if kind != b"C":
        return None
    payload = rest.partition(b" ")[2][:-1]
    name = kind_of(payload)
    if name not in _KINDS:
        return None
    return name, Moment(int(frame_no), int(recv_ns), int(mono_ns)), payload


def start_of(directory: Path, from_ns: int) -> int:
    """First frame of the last segment that begins before a moment, and with a checkpoint."""
    starts = first_frames(directory)
    ended = {
        int(line["frame_first"]): max(int(line["recv_first"]), int(line["recv_last"]))
        for line in manifest_read(str(directory))
        if line.get("kind") == "sealed"
    }
    begin = 0
    while begin + 1 < len(starts) and ended.get(starts[begin], from_ns) + CLOCK_STEP_NS < from_ns:
        begin += 1
    while begin > 0:
        _, chunk = next(RawLogReader(str(directory), starts[begin], starts[begin]), ("", b""))
        if chunk and int(heads_of(chunk)["type"][0]) == CHECKPOINT:
            break
        begin -= 1
    return starts[begin] if starts else 0
