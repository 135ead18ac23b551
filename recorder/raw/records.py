"""The heads of a chunk's records as one array: numbers, receive stamps, types.

The native module reads them; this names the fields. Payloads stay where they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

from tickd.native import record_heads

__all__ = ["CHECKPOINT", "Heads", "heads_of"]

Heads = npt.NDArray[np.void]

# The type of the record with which a decoder may begin: it tells all that came before.
CHECKPOINT: Final = ord("K")
_HEAD: Final = np.dtype(
    [
        ("frame_no", "<u8"),
        ("recv_ns", "<i8"),
        ("payload_at", "<u4"),
        ("payload_bytes", "<u4"),
        ("connection", "<u4"),
        ("type", "u1"),
        ("", "V3"),
    ]
)


def heads_of(records: Buffer) -> Heads:
    """Return a row per record, with the fields of `_HEAD`. Raises NativeError on no records."""
    return np.frombuffer(record_heads(records), _HEAD)
