"""Certificates made on the spot, signed by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

__all__ = ["made_certificate", "made_pfx"]

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])


def _signed(ends: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(BEGAN, ends - timedelta(days=1)))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return key, builder.sign(key, hashes.SHA256())


def made_certificate(folder: Path, ends: datetime, *, password: bytes = b"") -> tuple[Path, Path]:
    """Write a certificate that is good until then, and its key; return both paths."""
    key, certificate = _signed(ends)
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return cert_file, key_file


def made_pfx(path: Path, ends: datetime, password: bytes) -> Path:
    """Write a `.pfx`."""
    key, certificate = _signed(ends)
    encryption = BestAvailableEncryption(password)
    content = pkcs12.serialize_key_and_certificates(b"me", key, certificate, None, encryption)
    path.write_bytes(content)
    return path
