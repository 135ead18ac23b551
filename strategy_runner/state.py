"""What a strategy keeps over restarts: a small dictionary in a file of its own.

Text to JSON values; the file is replaced in one step and durable. It holds what the strategy put
there and knows no meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final, final

import orjson

from strategy_runner.errors import StrategyError
from tickd.durable import replace_file, sync_directory
from tickd.native import xxh3_hex

__all__ = ["State"]

VERSION: Final = 1
STATE_BYTES_MAX: Final = 1 << 20
# Order numbers that one write of the file covers.
ORDERS_RESERVED: Final = 1 << 16


@final
class State(MutableMapping[str, Any]):
    """The dictionary; without a file it lives as long as the process."""

    def __init__(
        self, path: Path | None, values: dict[str, Any] | None = None, orders_from: int = 0
    ) -> None:
        self._path = path
        self._values: dict[str, Any] = dict(values or {})
        # Numbers of orders: those up to `_orders_reserved` may have been given out by this life or
        # one before it. The file is always ahead of the orders, so none is given out twice.
        self.orders_made = orders_from
        self._orders_reserved = orders_from
        self._saved = b""

    @classmethod
    def load(cls, path: Path | None) -> State:
        """Return what the file holds. Raises StrategyError: unreadable, damaged."""
        if path is None:
            return cls(None)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise StrategyError(f"{path}: {error.strerror or error}") from error
        head, _, image = content.partition(b"\n")
        if head != _head(image):
            raise StrategyError(
                f"{path} is damaged or of another version",
                hint="move it away to start without what the strategy kept",
            )
        kept = orjson.loads(image)
        return cls(path, kept["values"], kept["orders_reserved"])

    def again(self) -> State:
        """Return it as a strategy that is made again finds it, with the same file and numbers.

        Raises StrategyError: what is in it cannot be written down.
        """
        kept = orjson.loads(self.image())
        made = State(self._path, kept["values"], self.orders_made)
        made._orders_reserved = self._orders_reserved
        made._saved = self._saved
        return made

    def next_order(self) -> int:
        """Return a number that no order of this strategy had before. Raises StrategyError."""
        if self.orders_made >= self._orders_reserved:
            self._orders_reserved += ORDERS_RESERVED
            self.save()
        self.orders_made += 1
        return self.orders_made

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def image(self) -> bytes:
        """Return everything as canonical JSON. Raises StrategyError: no JSON, or too much."""
        try:
            image = orjson.dumps(
                {"orders_reserved": self._orders_reserved, "values": self._values},
                option=orjson.OPT_SORT_KEYS,
            )
        except orjson.JSONEncodeError as error:
            raise StrategyError(f"the state cannot be written down: {error}") from error
        if len(image) > STATE_BYTES_MAX:
            raise StrategyError(f"a state of {len(image)} bytes, at most {STATE_BYTES_MAX}")
        return image

    def save(self) -> None:
        """Make the file durable where something changed. Raises StrategyError; blocks."""
        image = self.image()
        if self._path is None or image == self._saved:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, _head(image) + b"\n" + image)
            sync_directory(self._path.parent)
        except OSError as error:
            raise StrategyError(f"{self._path}: {error.strerror or error}") from error
        self._saved = image


def _head(image: bytes) -> bytes:
    return f"tickd-state {VERSION} {xxh3_hex(image)}".encode()
