"""When a certificate ends: read from PEM files without a library, from `.pfx` with one.

It checks no signature and trusts nothing: an operator's own files are read, to warn in time.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Final

from tickd.errors import TickdError

__all__ = ["CertificateError", "pem_ends", "pfx_ends"]

FILE_BYTES_MAX: Final = 1 << 20
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
# Of tbsCertificate behind its version: serial number, signature, issuer, validity.
_VALIDITY: Final = 3
_LENGTH_BYTES_MAX: Final = 4
# RFC 5280, 4.1.2.5.1: two digits of a year.
_CENTURY_TURN: Final = 50


class CertificateError(TickdError):
    """A file holds no certificate that can be read."""


def pem_ends(content: bytes, *, of_bundle: bool = False) -> float:
    """Return when a PEM file's certificates end, seconds since 1970.

    Of a chain the first end counts; of a bundle of authorities, old ones among it, the last.
    Raises CertificateError.
    """
    try:
        text = content.decode("ascii", errors="replace")
        parts = [part.partition(_END)[0] for part in text.split(_BEGIN)[1:]]
        ends = [_not_after(ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{part}{_END}\n")) for part in parts]
    except (ValueError, IndexError) as error:
        raise CertificateError(f"no certificate: {error}") from error
    if not ends:
        raise CertificateError("no certificate in the file")
    return max(ends) if of_bundle else min(ends)


def pfx_ends(content: bytes, password: str) -> float | None:
    """Return when the certificate of a `.pfx` ends; None: the library `cryptography` is missing.

    Raises CertificateError: no such file, or another password.
    """
    try:
        from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415 - optional
    except ImportError:
        return None
    try:
        _, certificate, _ = pkcs12.load_key_and_certificates(content, password.encode())
    except ValueError as error:
        raise CertificateError("a damaged .pfx, or another password") from error
    if certificate is None:
        raise CertificateError("no certificate in the file")
    return certificate.not_valid_after_utc.timestamp()


def _not_after(der: bytes) -> float:
    """The second time of the validity. Raises ValueError, IndexError: no certificate."""
    body = _content(_content(der, _SEQUENCE)[0], _SEQUENCE)[0]
    if body[0] == _VERSION:
        body = _content(body, _VERSION)[1]
    for _ in range(_VALIDITY):
        body = _content(body, body[0])[1]
    validity = _content(body, _SEQUENCE)[0]
    last = _content(validity, validity[0])[1]
    text = _content(last, last[0])[0].decode("ascii")
    if last[0] == _UTC_TIME:
        century = "19" if int(text[:2]) >= _CENTURY_TURN else "20"
        text = century + text
    elif last[0] != _GENERALIZED_TIME:
        raise ValueError("a validity without a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _content(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """What is in the first element of DER, and what stands behind it."""
    if data[0] != tag:
        raise ValueError(f"tag {data[0]:#x} where {tag:#x} should be")
    length, at = data[1], 2
    if length >= 0x80:
        count = length & 0x7F
        if not 0 < count <= _LENGTH_BYTES_MAX:
            raise ValueError("a length of no certificate")
        length, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if at + length > len(data):
        raise ValueError("cut short")
    return data[at : at + length], data[at + length :]
