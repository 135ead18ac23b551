"""When certificates end: read without a library from PEM, checked against the library."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.certificates import made_certificate, made_pfx
from tickd.app.certificates import CertificateError, pem_ends, pfx_ends

SOON = datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC)
LATE = datetime(2071, 1, 2, 3, 4, 5, tzinfo=UTC)  # beyond 2049 the time has another form
LONG_AGO = datetime(1999, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize("ends", [SOON, LATE, LONG_AGO])
def test_the_end_is_what_the_library_says(tmp_path: Path, ends: datetime) -> None:
    path, _ = made_certificate(tmp_path, ends)
    content = path.read_bytes()
    assert pem_ends(content) == ends.timestamp()
    assert x509.load_pem_x509_certificate(content).not_valid_after_utc == ends


def test_of_a_chain_the_first_end_counts_and_of_a_bundle_the_last(tmp_path: Path) -> None:
    contents = [made_certificate(tmp_path, ends)[0].read_bytes() for ends in (LATE, SOON)]
    whole = b"words before\n" + contents[0] + b"\nbetween\n" + contents[1]
    assert pem_ends(whole) == SOON.timestamp()
    assert pem_ends(whole, of_bundle=True) == LATE.timestamp()


def test_a_pfx_needs_its_password(tmp_path: Path) -> None:
    content = made_pfx(tmp_path / "me.pfx", SOON, b"pass").read_bytes()
    assert pfx_ends(content, "pass") == SOON.timestamp()
    with pytest.raises(CertificateError, match="another password"):
        pfx_ends(content, "word")
    with pytest.raises(CertificateError, match="another password"):
        pfx_ends(b"no pfx", "pass")


@given(st.binary(max_size=400), st.integers(0, 700), st.integers(0, 700))
def test_what_is_no_certificate_is_said_to_be_none(junk: bytes, at: int, length: int) -> None:
    whole = WHOLE[:at] + junk + WHOLE[at + length :]
    for content in (junk, whole, WHOLE[:at], b"-----BEGIN CERTIFICATE-----" + junk):
        with contextlib.suppress(CertificateError):
            assert isinstance(pem_ends(content), float)


@pytest.fixture(scope="module", autouse=True)
def _whole(tmp_path_factory: pytest.TempPathFactory) -> None:
    global WHOLE  # noqa: PLW0603 - made once, for a test that runs a hundred times
    WHOLE = made_certificate(tmp_path_factory.mktemp("one"), SOON)[0].read_bytes()


WHOLE = b""
