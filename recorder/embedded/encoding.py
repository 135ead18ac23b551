"""Content codings of the HTTP interface: gzip, deflate, zstd, lz4, streaming, both ways."""

from __future__ import annotations

import zlib
from typing import Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

from recorder.embedded.statement import StatementError

__all__ = ["Packer", "Unpacker", "accepted", "packer", "unpacker"]


class Unpacker(Protocol):
    """A stream of bytes on its way in; `decompress` raises one of `BAD_DATA`."""

    def decompress(self, data: bytes, /) -> bytes: ...


class Packer(Protocol):
    """A stream of bytes on its way out."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


BAD_DATA = (zlib.error, zstd.ZstdError, RuntimeError, EOFError, ValueError)


class _Plain:
    def decompress(self, data: bytes) -> bytes:
        return data


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


def unpacker(coding: str) -> Unpacker:
    """Return the unpacker of a Content-Encoding. Raises StatementError for an unknown one."""
    match coding:
        case "" | "identity":
            return _Plain()
        case "gzip":
            return zlib.decompressobj(31)
        case "deflate":
            return zlib.decompressobj()
        case "zstd":
            return zstd.ZstdDecompressor()
        case "lz4":
            frame: Unpacker = lz4.frame.LZ4FrameDecompressor()
            return frame
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
