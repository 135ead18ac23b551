"""Which credentials end, when, and what is said when a file cannot be read or is another."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from tests.harness.certificates import made_certificate, made_pfx
from tickd.app.config import Config
from tickd.app.credentials import HTTP, Credentials, credentials_of
from tickd.config import parse
from tickd.testing.clock import ManualClock

SOON = datetime(2027, 3, 4, tzinfo=UTC)
LATER = datetime(2028, 3, 4, tzinfo=UTC)
FILE = """
[node]
state_dir = "{folder}"
[http]
cert_file = "{folder}/cert.pem"
key_file = "{folder}/key.pem"
[clickhouse]
url = "https://127.0.0.1:1"
ca_file = "{folder}/cert.pem"
cert_file = "{folder}/absent.pem"
[[accounts]]
broker = "shioaji"
name = "main"
api_key = {{ file = "{folder}/secret" }}
secret_key = {{ file = "{folder}/secret" }}
symbols = ["2330"]
ca_path = "{folder}/me.pfx"
ca_password = {{ file = "{folder}/secret" }}
"""


def config_of(folder: Path) -> Config:
    made_certificate(folder, SOON)
    made_pfx(folder / "me.pfx", LATER, b"pass")
    (folder / "secret").write_text("pass")
    (folder / "secret").chmod(0o600)
    return parse(FILE.format(folder=folder).encode(), Config)


def test_every_file_that_ends_is_named_and_read(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert [each.name for each in credentials_of(config)] == [
        HTTP,
        "clickhouse_ca_file",
        "clickhouse_cert_file",
        "main",
    ]
    credentials = Credentials(config, clock=ManualClock())
    assert credentials.look() == []
    assert credentials.ends == {
        HTTP: SOON.timestamp(),
        "clickhouse_ca_file": SOON.timestamp(),
        "main": LATER.timestamp(),
    }
    assert list(credentials.faults) == ["clickhouse_cert_file"]
    assert "pass" not in str(credentials.faults)


def test_a_renewed_file_is_read_again_with_its_key(tmp_path: Path) -> None:
    credentials = Credentials(config_of(tmp_path), clock=ManualClock())
    credentials.look()
    assert credentials.look() == [], "nothing has changed"
    made_certificate(tmp_path, LATER)
    os.utime(tmp_path / "cert.pem", ns=(1, 1))
    assert credentials.look() == [HTTP, "clickhouse_ca_file"]
    assert credentials.ends[HTTP] == LATER.timestamp()
    os.utime(tmp_path / "key.pem", ns=(2, 2))
    assert credentials.look() == [HTTP], "the key came behind the certificate"


def test_a_file_that_went_bad_has_no_end_until_it_is_good_again(tmp_path: Path) -> None:
    credentials = Credentials(config_of(tmp_path), clock=ManualClock())
    credentials.look()
    good = (tmp_path / "me.pfx").read_bytes()
    (tmp_path / "me.pfx").write_bytes(b"cut")
    assert credentials.look() == []
    assert "main" not in credentials.ends
    assert "another password" in credentials.faults["main"]
    (tmp_path / "me.pfx").write_bytes(good)
    credentials.look()
    assert credentials.ends["main"] == LATER.timestamp()
    assert "main" not in credentials.faults


def test_a_file_that_got_its_rights_back_is_read_though_it_is_the_same(tmp_path: Path) -> None:
    credentials = Credentials(config_of(tmp_path), clock=ManualClock())
    credentials.look()
    stat = (tmp_path / "cert.pem").stat()
    good = (tmp_path / "cert.pem").read_bytes()
    # As without the right to open it: stat says the same before and after.
    (tmp_path / "cert.pem").write_bytes(b"x" * len(good))
    os.utime(tmp_path / "cert.pem", ns=(1, stat.st_mtime_ns + 1))
    assert credentials.look() == []
    assert HTTP in credentials.faults
    (tmp_path / "cert.pem").write_bytes(good)
    os.utime(tmp_path / "cert.pem", ns=(1, stat.st_mtime_ns + 1))
    assert credentials.look() == [HTTP, "clickhouse_ca_file"]
    assert credentials.ends[HTTP] == SOON.timestamp()
    assert list(credentials.faults) == ["clickhouse_cert_file"]


def test_without_any_credential_nothing_runs(tmp_path: Path) -> None:
    config = parse(f'[node]\nstate_dir = "{tmp_path}"\n'.encode(), Config)
    assert list(credentials_of(config)) == []
