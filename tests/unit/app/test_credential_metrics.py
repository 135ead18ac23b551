"""Until when certificates are good, read from files as OpenSSL-like libraries write them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from tickd.app.config import Config, load_config
from tickd.app.credential_metrics import certificate_end, declare_credentials, ends_of
from tickd.telemetry.metrics import Metrics

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
# Before 2050 a certificate says UTCTime, from then on GeneralizedTime.
ENDS = [datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC), datetime(2077, 1, 2, tzinfo=UTC)]


def made(end: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tickd test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(BEGIN).not_valid_after(end)
    return key, builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_certificate_is_read(end: datetime) -> None:
    _, certificate = made(end)
    pem = certificate.public_bytes(Encoding.PEM)
    assert certificate_end(pem) == end.timestamp()
    assert certificate_end(b"# a comment\n" + pem + made(ENDS[0])[1].public_bytes(Encoding.PEM))


def test_what_is_no_certificate_is_refused_at_every_length() -> None:
    pem = made(ENDS[0])[1].public_bytes(Encoding.PEM)
    for size in range(len(pem) - 1):
        with pytest.raises(ValueError, match=r"."):
            certificate_end(pem[:size])


def config_with(tmp_path: Path, bundle: Path) -> Config:
    password = tmp_path / "password"
    password.write_text("opens it")
    password.chmod(0o600)
    file = tmp_path / "tickd.toml"
    file.write_text(
        "[[accounts]]\n"
        'broker = "shioaji"\nname = "tw"\n'
        f'symbols = ["2330"]\napi_key = {{ file = "{password}" }}\n'
        f'secret_key = {{ file = "{password}" }}\n'
        f'ca_path = "{bundle}"\nca_password = {{ file = "{password}" }}\n'
    )
    return load_config(file)


def test_a_brokers_bundle_has_its_end_shown(tmp_path: Path) -> None:
    key, certificate = made(ENDS[0])
    bundle = tmp_path / "person.pfx"
    bundle.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"tw", key, certificate, None, BestAvailableEncryption(b"opens it")
        )
    )
    config = config_with(tmp_path, bundle)
    assert ends_of(config) == {("tw",): ENDS[0].timestamp()}
    metrics = Metrics()
    declare_credentials(metrics, config)
    assert b'tickd_app_credential_expiry_timestamp_seconds{kind="tw"}' in metrics.text()


@pytest.mark.parametrize("data", [None, b"", b"no bundle"])
def test_a_file_that_gives_nothing_has_no_figure(tmp_path: Path, data: bytes | None) -> None:
    bundle = tmp_path / "person.pfx"
    if data is not None:
        bundle.write_bytes(data)
    assert ends_of(config_with(tmp_path, bundle)) == {}
