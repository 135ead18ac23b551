"""Content codings of the HTTP interface: gzip, deflate, zstd, lz4, streaming, both ways."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

from recorder.embedded.statement import StatementError

__all__ = ["Packer", "Unpacker", "accepted", "packer", "unpacker"]


class _Frame(Protocol):
    """One gzip member, zstd or lz4 frame; `decompress` raises one of `BAD_DATA`."""

    def decompress(self, data: bytes, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...


class Packer(Protocol):
    """A stream of bytes on its way out."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


BAD_DATA = (zlib.error, zstd.ZstdError, RuntimeError, EOFError, ValueError)


class Unpacker:
    """A stream of bytes on its way in, of one frame after another; without `make` it is plain."""

    def __init__(self, make: Callable[[], _Frame] | None) -> None:
        self._make = make
        self._frame: _Frame | None = None

    def decompress(self, data: bytes) -> bytes:
        """Return what `data` adds. Raises one of `BAD_DATA`."""
        if self._make is None:
            return data
        out = []
        while data:
            if self._frame is None:
                self._frame = self._make()
            out.append(self._frame.decompress(data))
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data or b""
                self._frame = None
        return b"".join(out)

    def finish(self) -> None:
        """Check that the last frame is whole. Raises EOFError: the body was cut on the way."""
        if self._frame is not None:
            raise EOFError("the compressed body is cut off")


class _Lz4Packer:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, data: bytes) -> bytes:
        head = b"" if self._begun else bytes(self._frame.begin())
        self._begun = True
        return head + bytes(self._frame.compress(data))

    def flush(self) -> bytes:
        return (b"" if self._begun else bytes(self._frame.begin())) + bytes(self._frame.flush())


def _lz4_frame() -> _Frame:
    frame: Any = lz4.frame.LZ4FrameDecompressor()  # a library without types
    return frame  # type: ignore[no-any-return]


def unpacker(coding: str) -> Unpacker:
    """Return the unpacker of a Content-Encoding. Raises StatementError for an unknown one."""
    match coding:
        case "" | "identity":
            return Unpacker(None)
        case "gzip":
            return Unpacker(lambda: zlib.decompressobj(31))
        case "deflate":
            return Unpacker(zlib.decompressobj)
        case "zstd":
            return Unpacker(zstd.ZstdDecompressor)
        case "lz4":
            return Unpacker(_lz4_frame)
        case _:
            text = f"Unknown Content-Encoding of HTTP request: {coding[:40]}"
            raise StatementError(89, "UNKNOWN_COMPRESSION_METHOD", text)


def accepted(header: str) -> str | None:
    """Return the first coding of an Accept-Encoding header that is spoken here."""
    for part in header.lower().split(","):
        name = part.split(";")[0].strip()
        if name in {"gzip", "deflate", "zstd", "lz4"}:
            return name
    return None


def packer(coding: str) -> Packer:
    """Return the packer of an accepted coding, at its fastest level: the link is loopback."""
    match coding:
        case "gzip":
            return zlib.compressobj(1, wbits=31)
        case "deflate":
            return zlib.compressobj(1)
        case "zstd":
            return zstd.ZstdCompressor(level=1)
        case _:
            return _Lz4Packer()
