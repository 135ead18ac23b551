"""The users of deploy/oci, as a real ClickHouse reads them: what Grafana may ask, and what not.

Method: the library's server takes users.xml as it is, but for `changeable_in_readonly`: the switch
that this needs is a server's (deploy/oci/clickhouse-server.xml, tests/test_containers.py).
"""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.clickhouse_server import REPOSITORY, ClickHouseServer, require

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]

USERS = REPOSITORY / "deploy/oci/clickhouse-users.xml"
PASSWORD = "of a test"
REFUSED, READ_ONLY = "497", "164"
DICTIONARY = (
    "CREATE DICTIONARY tickd.names (a Int64, b String DEFAULT 'x') PRIMARY KEY a"
    " SOURCE(NULL()) LAYOUT(FLAT()) LIFETIME(0)"
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClickHouseServer]:
    require("real")
    for name in ("TICKD", "GRAFANA"):
        digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
        monkeypatch.setenv(f"{name}_PASSWORD_SHA256", digest)
    text = USERS.read_text()
    # The last two: what the image's own users.xml has, which this one is merged into.
    for old, new in (
        ("<changeable_in_readonly/>", ""),
        ("<profiles>", "<quotas><default/></quotas><profiles><default/>"),
        ("<default>", "<default><password/>"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "users.xml").write_text(text)
    config = tmp_path / "config.xml"
    config.write_text(f"<clickhouse><users_config>{tmp_path}/users.xml</users_config></clickhouse>")
    with ClickHouseServer("real", tmp_path / "clickhouse", config=config) as running:
        for sql in (
            "CREATE DATABASE tickd",
            "CREATE TABLE tickd.trades (a Int64) ENGINE = MergeTree ORDER BY a",
            "CREATE TABLE default.others (a Int64) ENGINE = MergeTree ORDER BY a",
            "INSERT INTO tickd.trades VALUES (42)",
            "CREATE VIEW tickd.trades_v AS SELECT a FROM tickd.trades",
            DICTIONARY,
        ):
            running.ask(sql)
        yield running


def asked(server: ClickHouseServer, sql: str, *, user: str = "grafana", **settings: str) -> str:
    """The answer, or the code of the refusal."""
    headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": PASSWORD}
    url = f"{server.url}/?{urllib.parse.urlencode(settings)}"
    try:
        request = urllib.request.Request(url, sql.encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return str(reply.read().decode().strip())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers["X-ClickHouse-Exception-Code"])


def test_grafana_reads_tickds_database_and_nothing_else(server: ClickHouseServer) -> None:
    assert asked(server, "SELECT a FROM tickd.trades_v") == "42"
    assert asked(server, "SELECT dictGet('tickd.names', 'b', 7)") == "x"
    assert asked(server, "SELECT a FROM default.others") == REFUSED
    assert asked(server, "SELECT name FROM system.users") == REFUSED
    assert asked(server, "SELECT * FROM url('http://127.0.0.1:1', CSV, 'a Int64')") == REFUSED
    assert asked(server, "INSERT INTO tickd.trades VALUES (1)") in (REFUSED, READ_ONLY)
    assert asked(server, "DROP TABLE tickd.trades") in (REFUSED, READ_ONLY)
    assert asked(server, "SELECT 1", max_rows_to_read="0") == READ_ONLY
    assert asked(server, "SELECT getSetting('max_execution_time')") == "30"


def test_tickd_writes(server: ClickHouseServer) -> None:
    assert asked(server, "INSERT INTO tickd.trades VALUES (1)", user="tickd") == ""
    assert asked(server, "SELECT count() FROM tickd.trades", user="tickd") == "2"
