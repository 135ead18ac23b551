"""Which instruments a decoder came to know while a raw log is read: each told once.

What follows the decoder - blocks, replays, exports - needs a definition before its first row. It
decodes nothing itself.
"""

from __future__ import annotations

from tickd.native import Decoder

__all__ = ["NewDefinitions"]


class NewDefinitions:
    """The definitions of one decoder; those of a chunk in the order in which it lists them."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._known: set[int] = set()

    def after(self, chunk: bytes) -> list[bytes]:
        """Return what is new with a chunk, all or part of which the decoder has just read."""
        # Definitions come as records of their own, or all at once with the first checkpoint.
        if self._known and b'"instrument"' not in chunk:
            return []
        found = [each for each in self._decoder.instruments() if each[0] not in self._known]
        self._known.update(instrument for instrument, _ in found)
        return [definition for _, definition in found]
