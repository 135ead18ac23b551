"""OKX v5: past trades by id, newest first. Sources: README.md, section History."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.venue import History, OpenGap, Piece, RestRequest

DAY_SECONDS: Final = 86_400.0
PATH: Final = "/api/v5/market/history-trades"
TRADES_MAX: Final = 100
WEIGHT: Final = 1


@dataclass(frozen=True, slots=True)
class OkxHistory:
    """Single fills, for both channels: merged trades are numbered by the last fill in them."""

    channels: frozenset[str]
    keeps_seconds: float | None

    def pieces(self, gap: OpenGap) -> tuple[Piece, ...]:
        return gap.left[::-1]

    def request(self, gap: OpenGap, piece: Piece) -> RestRequest:
        """`after` an id are the trades before it in time, newest first."""
        limit = min(TRADES_MAX, piece[1] - gap.left[0][0] + 1)
        target = f"{PATH}?instId={gap.symbol}&type=1&after={piece[1] + 1}&limit={limit}"
        return RestRequest(target, WEIGHT)


HISTORY: Final[History] = OkxHistory(
    channels=frozenset({"trade", "aggtrade"}),
    keeps_seconds=90 * DAY_SECONDS,  # "the last 3 months"
)
