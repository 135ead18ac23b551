"""WebSocket text frames as servers send them: one made of a payload, payloads out of a stream.

Unmasked, final, of text (RFC 6455, section 5.2). No connection, no other kind of frame.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["text_frame", "text_payloads"]


def text_frame(payload: bytes) -> bytes:
    """`payload` as one frame."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def text_payloads(stream: bytes) -> Iterator[bytes]:
    """The payloads of whole frames that follow each other."""
    at = 0
    while at < len(stream):
        size, at = stream[at + 1], at + 2
        width = {126: 2, 127: 8}.get(size, 0)
        if width:
            size, at = int.from_bytes(stream[at : at + width]), at + width
        yield stream[at : at + size]
        at += size
