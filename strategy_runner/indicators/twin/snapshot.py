"""What every twin has: counts, snapshots, copies, and whole columns through `update`.

A snapshot has the native module's bytes (native/core/src/indicators/state.rs), so it may change its
backend. It computes no indicator.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Self, cast
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from strategy_runner.indicators.twin.params import params_of

Floats = NDArray[np.float64]
Array = NDArray[np.float64] | NDArray[np.int64] | NDArray[np.int8]
Times = NDArray[np.int64]

_MAGIC = b"TKIN"
_SCALARS = {"?": "<?", "B": "<B", "Q": "<Q", "q": "<q", "d": "<d"}
_HEAD_BYTES = 8
_REFUSED = "refused: not finite, negative, crossed or backward"


class Refused(ValueError):  # noqa: N818 - a ValueError for whoever does not look closer
    """A strict indicator refused its input."""


class Reader:
    """A position in the bytes of a snapshot."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, form: str) -> tuple[float | int | bool, ...]:
        size = struct.calcsize(form)
        if self.at + size > len(self.data):
            raise ValueError(f"state refused: truncated at byte {self.at}")
        found = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return found


class Fields:
    """Something whose fields are written down in declared order.

    A form is a scalar (`?BQqd`), a list with its length (`*d`), a list of known length (`4d`), or
    empty for a part with fields of its own, which is read by the class in `PARTS`.
    """

    FIELDS: ClassVar[tuple[tuple[str, str], ...]]
    PARTS: ClassVar[dict[str, type[Fields]]] = {}

    def save(self, out: bytearray) -> None:
        for name, form in self.FIELDS:
            value = getattr(self, name)
            if not form:
                value.save(out)
            elif form[0] == "*":
                out += struct.pack(f"<Q{len(value)}{form[1]}", len(value), *value)
            elif form in _SCALARS:
                out += struct.pack(_SCALARS[form], value)
            else:
                out += struct.pack(f"<{form}", *value)

    @classmethod
    def load(cls, reader: Reader) -> Self:
        made = cls.__new__(cls)
        for name, form in cls.FIELDS:
            if not form:
                setattr(made, name, cls.PARTS[name].load(reader))
            elif form[0] == "*":
                length = int(reader.take("<Q")[0])
                if length > len(reader.data):
                    raise ValueError(f"state refused: truncated at byte {reader.at}")
                values = reader.take(f"<{length}{form[1]}")
                setattr(made, name, deque(values) if name in {"line", "times"} else list(values))
            elif form in _SCALARS:
                setattr(made, name, reader.take(_SCALARS[form])[0])
            else:
                setattr(made, name, list(reader.take(f"<{form}")))
        return made


class Twin(Fields):
    """An indicator: its counts, its value and what all have in common.

    Subclasses add `update`, `is_ready`, `warmup` and `_forget`.
    """

    KIND: ClassVar[int]
    VERSION: ClassVar[int] = 1
    # `update` takes so many numbers and then a time (see `update_many`).
    COLUMNS: ClassVar[int] = 1

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.count = 0  # inputs taken
        self.n_skipped = 0
        self.n_crossed = 0
        self.n_backward = 0
        self._value = math.nan

    @classmethod
    def _made(cls, params: dict[str, object]) -> Self:
        make = cast("Callable[..., Self]", cls)  # the constructor checks what it is given
        return make(**params)

    @property
    def params(self) -> dict[str, object]:
        return params_of(self)

    @property
    def value(self) -> float:
        return self._value

    @property
    def is_ready(self) -> bool:
        return not math.isnan(self._value)

    @property
    def initialized(self) -> bool:
        return self.is_ready

    @property
    def warmup(self) -> int:
        return 1

    def _skip(self) -> float:
        self.n_skipped += 1
        if self.strict:
            raise Refused(f"input {_REFUSED}")
        return math.nan

    def restore_value(self, value: float) -> None:
        self._value = value

    def _forget(self) -> None:
        """Everything but counts and value, back to the beginning."""

    def reset(self) -> None:
        self.count = self.n_skipped = self.n_crossed = self.n_backward = 0
        self._value = math.nan
        self._forget()

    def save(self, out: bytearray) -> None:
        counts = (self.count, self.n_skipped, self.n_crossed, self.n_backward)
        out += struct.pack("<?4Q", self.strict, *counts)
        super().save(out)

    @classmethod
    def load(cls, reader: Reader) -> Self:
        strict, count, skipped, crossed, backward = reader.take("<?4Q")
        made = super().load(reader)
        made.strict = bool(strict)
        made.count, made.n_skipped = int(count), int(skipped)
        made.n_crossed, made.n_backward = int(crossed), int(backward)
        return made

    def state(self) -> bytes:
        out = bytearray(_MAGIC + struct.pack("<HH", self.KIND, self.VERSION))
        self.save(out)
        return bytes(out + struct.pack("<I", crc32(out)))

    @classmethod
    def from_state(cls, state: bytes) -> Self:
        body, check = state[:-4], state[-4:]
        if len(state) < _HEAD_BYTES + 4 or body[:4] != _MAGIC:
            raise ValueError("state refused: malformed at byte 0")
        if struct.pack("<I", crc32(body)) != check:
            raise ValueError(f"state refused: checksum at byte {len(body)}")
        if struct.unpack_from("<HH", body, 4) != (cls.KIND, cls.VERSION):
            raise ValueError(f"state refused: unsupported at byte {_HEAD_BYTES}")
        reader = Reader(body)
        reader.at = _HEAD_BYTES
        made = cls.load(reader)
        if reader.at != len(body):
            raise ValueError(f"state refused: malformed at byte {reader.at}")
        return made

    def copy(self) -> Self:
        return self.from_state(self.state())

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return self.from_state, (self.state(),)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and cast("Self", other).state() == self.state()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"<{type(self).__name__}({params}) count={self.count} value={self.value!r}>"


def column(array: Array) -> list[float]:
    """The numbers of a column; TypeError for what the native module would refuse."""
    if not isinstance(array, np.ndarray):
        kind = type(array).__name__
        raise TypeError(f"needs a C-contiguous array of float64, int64 or int8, not {kind}")
    if array.dtype not in (np.float64, np.int64, np.int8) or not array.flags.c_contiguous:
        raise TypeError(f"needs a C-contiguous array of float64, int64 or int8, not {array.dtype}")
    return [float(each) for each in array.ravel().tolist()]


def times_of(array: Times | None, rows: int) -> list[int]:
    if array is None:
        return [0] * rows
    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or not array.flags.c_contiguous:
        raise TypeError("times must be a C-contiguous array of int64 nanoseconds")
    if len(array) != rows:
        raise ValueError(f"ts_ns must have {rows} rows")
    return [int(each) for each in array.tolist()]


def output(out: Floats | None, shape: tuple[int, ...]) -> Floats:
    """`out`, checked, or a new array."""
    if out is None:
        return np.empty(shape)
    if not isinstance(out, np.ndarray) or out.dtype != np.float64:
        raise TypeError("out must be an array of float64")
    if out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out has shape {list(out.shape)}, not {shape[0]} rows")
    return out


def same_length(columns: list[list[float]]) -> int:
    if any(len(each) != len(columns[0]) for each in columns):
        raise ValueError("the columns differ in length")
    return len(columns[0])


def row_refused(row: int) -> Refused:
    return Refused(f"row {row} {_REFUSED}")
