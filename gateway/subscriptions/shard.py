"""Which of several daemons records a symbol: rendezvous hashing. Pure.

Every daemon computes the same answer from the symbol's name alone; nothing is agreed at run time.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final, NamedTuple

from gateway.errors import PatternError

SHARDS_MAX: Final = 1_000
_TEXT: Final = re.compile(r"(\d{1,4})/(\d{1,4})", re.ASCII)


class Shard(NamedTuple):
    """Part `part` of `parts`, from 0."""

    part: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard of `i/n`. Raises PatternError."""
        found = _TEXT.fullmatch(text)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 0 <= shard.part < shard.parts <= SHARDS_MAX:
            raise PatternError(
                f"not a shard: {text[:40]!r}",
                hint=f"i/n with i from 0 to n - 1, as in 0/4; at most {SHARDS_MAX} of them",
            )
        return shard

    def holds(self, venue: str, symbol: str) -> bool:
        """Whether this daemon records `symbol` of `venue`, with all its channels."""
        return self.parts == 1 or owner(f"{venue}:{symbol}", self.parts) == self.part

    def __str__(self) -> str:
        return f"{self.part}/{self.parts}"


WHOLE: Final = Shard(0, 1)


def owner(key: str, parts: int) -> int:
    """The part, of `parts`, with the highest weight for `key`.

    A part more takes a share from each of the others and moves nothing between them. Source:
    Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
    """
    text = key.encode()
    return max(range(parts), key=lambda part: _weight(part, text))


def _weight(part: int, text: bytes) -> bytes:
    return blake2b(part.to_bytes(4, "little") + text, digest_size=8).digest()
