"""OKX v5: `prevSeqId == last seqId`, snapshots come in the stream. The rule itself is native."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.venue import ClientMessage, RestRequest, Stream, Sync
from gateway.venues.okx.wire import request


@dataclass(frozen=True, slots=True)
class OkxSync:
    """A new snapshot comes with a new subscription."""

    rule: str

    def resync(
        self, symbol: str, streams: Sequence[Stream], first_id: int
    ) -> RestRequest | tuple[ClientMessage, ...]:
        """Unsubscribe and subscribe again; only the second is acknowledged by a notice."""
        del symbol  # the streams name it
        return (
            ClientMessage(request("unsubscribe", streams, first_id), acks=0),
            ClientMessage(request("subscribe", streams, first_id + 1), acks=len(streams)),
        )


SYNC: Final[Sync] = OkxSync(rule="okx")
