"""Recorded Binance captures as lines in time order, and what is known of their symbols.

Two grammars: `recv_ns SP json` (optionally gzip), and cryptofeed's raw text (`ts: json`, REST
`url -> ts: json`).
Reads files; plays nothing.
"""

from __future__ import annotations

import gzip
import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

import msgspec

from gateway.servers.config import MARKETS, Market
from tickd.errors import ConfigError

_STREAM: Final = re.compile(rb'\{"stream":"([^"]{1,120})","data":')
_EVENT: Final = re.compile(rb'"e":"(\w+)"')
_CRYPTOFEED_REST: Final = re.compile(rb"(https?://\S+?) -> (\d+\.\d+): (\{.*)")
_CRYPTOFEED_FRAME: Final = re.compile(rb"(\d+\.\d+): (\{.*)")
_QUERY_SYMBOL: Final = re.compile(rb"[?&]symbol=([A-Z0-9_]+)")
# The first messages of a stream settle its decimals; Binance pads, so one would do.
SCALE_SAMPLES: Final = 50


class Line(NamedTuple):
    """One recorded message. stream is empty and symbol set for a REST depth snapshot."""

    recv_ns: int
    market: Market
    stream: str
    symbol: str
    payload: bytes


@dataclass(slots=True)
class SymbolFacts:
    """Decimals of the numbers as the venue wrote them."""

    price_scale: int = 0
    size_scale: int = 0
    samples: int = 0


@dataclass(slots=True)
class Capture:
    """One file after a first pass."""

    path: Path
    market: Market
    streams: set[str] = field(default_factory=set)
    symbols: dict[str, SymbolFacts] = field(default_factory=dict)
    lines: int = 0
    snapshots: int = 0

    def read(self) -> Iterator[Line]:
        """The lines in file order. Raises ConfigError for a line outside the grammar."""
        only = next(iter(self.symbols)) if len(self.symbols) == 1 else ""
        for recv_ns, payload, symbol in _raw_lines(self.path):
            match = _STREAM.match(payload)
            if match is not None:
                yield Line(recv_ns, self.market, match[1].decode(), "", payload)
            else:
                yield Line(recv_ns, self.market, "", symbol or only, payload)


def scan(name: str) -> Capture:
    """Return what the capture `[market:]path` holds, after reading it once. Raises ConfigError."""
    prefix, separator, rest = name.partition(":")
    named: Market | None = None
    for market in MARKETS:
        if separator and market == prefix:
            named = market
    path = Path(rest if named else name)
    capture = Capture(path, named or "usdm")
    seen: Market | None = None
    for _, payload, symbol in _raw_lines(path):
        capture.lines += 1
        match = _STREAM.match(payload)
        if match is None:
            capture.snapshots += 1
            if symbol:
                _facts(capture, symbol)
            continue
        capture.streams.add(match[1].decode())
        seen = seen or _market_of(payload)
        _sample(capture, payload)
    if capture.lines == 0:
        raise ConfigError(f"{path}: no recorded messages")
    capture.market = named or seen or _market_of_snapshots(path)
    return capture


def merged(captures: Sequence[Capture]) -> Iterator[Line]:
    """The lines of all captures by receive time; equal times in the order of the captures."""
    return heapq.merge(*(capture.read() for capture in captures), key=lambda line: line.recv_ns)


def _open(path: Path) -> BinaryIO:
    try:
        if path.suffix == ".gz":
            return cast("BinaryIO", gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes, str]]:
    """(receive ns, JSON, symbol of a REST line)."""
    with _open(path) as stream:
        for number, raw in enumerate(stream, 1):
            line = raw.rstrip(b"\r\n")
            if not line or b" <-> " in line[:4096].split(b": ", 1)[0] or b" <- " in line[:300]:
                continue  # cryptofeed's note of a connection or of what the client sent
            parsed = _parse_line(line)
            if parsed is None:
                raise ConfigError(f"{path}: line {number} is not in a known capture format")
            if b'"lastUpdateId"' in parsed[1][:40] or _STREAM.match(parsed[1]):
                yield parsed


def _parse_line(line: bytes) -> tuple[int, bytes, str] | None:
    head, _, payload = line.partition(b" ")
    if len(head) == 19 and head.isdigit() and payload.startswith(b"{"):
        symbol = re.search(rb'"symbol":"([A-Z0-9_]+)"', payload[:200])
        is_snapshot = payload.startswith(b'{"lastUpdateId"')
        return int(head), payload, symbol[1].decode() if symbol and is_snapshot else ""
    frame = _CRYPTOFEED_FRAME.match(line)
    if frame is not None:
        return int(Decimal(frame[1].decode()) * 1_000_000_000), frame[2], ""
    rest = _CRYPTOFEED_REST.match(line)
    if rest is not None:
        symbol = _QUERY_SYMBOL.search(rest[1])
        time_ns = int(Decimal(rest[2].decode()) * 1_000_000_000)
        return time_ns, rest[3], symbol[1].decode() if symbol else ""
    return None


def _market_of(payload: bytes) -> Market | None:
    """The market a message shows; None when it might be of several."""
    if b'"ps":"' in payload or re.search(rb'"s":"\w+_\w+"', payload[:250]):
        return "coinm"
    event = _EVENT.search(payload)
    if event is None:
        return "spot"  # only spot's bookTicker has no event type
    if event[1] == b"depthUpdate":
        return "usdm" if b'"pu":' in payload else "spot"
    if event[1] == b"bookTicker":
        return "usdm"
    if event[1] == b"trade":
        return "spot" if b'"M":' in payload else "usdm"
    return None


def _market_of_snapshots(path: Path) -> Market:
    for _, payload, _ in _raw_lines(path):
        if b'"pair":' in payload[:200]:
            return "coinm"
        return "usdm" if b'"E":' in payload[:200] else "spot"
    return "usdm"


def _facts(capture: Capture, symbol: str) -> SymbolFacts:
    return capture.symbols.setdefault(symbol, SymbolFacts())


def _sample(capture: Capture, payload: bytes) -> None:
    symbol = re.search(rb'"s":"([A-Z0-9_]+)"', payload)
    if symbol is None:
        return
    facts = _facts(capture, symbol[1].decode())
    if facts.samples >= SCALE_SAMPLES:
        return
    data = msgspec.json.decode(payload)["data"]
    pairs: list[list[str]] = []
    if data.get("e") == "depthUpdate":
        pairs = [*data["b"], *data["a"]]
    elif isinstance(data.get("b"), str) and "A" in data:
        pairs = [[data["b"], data["B"]], [data["a"], data["A"]]]
    elif data.get("e") in {"trade", "aggTrade"}:
        pairs = [[data["p"], data["q"]]]
    facts.samples += bool(pairs)
    for price, size in pairs:
        facts.price_scale = max(facts.price_scale, _decimals(price))
        facts.size_scale = max(facts.size_scale, _decimals(size))


def _decimals(text: str) -> int:
    try:
        exponent = Decimal(text).as_tuple().exponent
    except InvalidOperation as error:
        raise ConfigError(f"{text!r} in a capture is not a number") from error
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0
