"""`tickd migrate --show`: what would run, without a server and without a secret."""

from pathlib import Path

import pytest

from tickd.app.commands.migrate import migrate
from tickd.native import EVENT_TABLES


def test_the_statements_of_a_cluster_are_shown_without_asking_anybody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "secret").chmod(0o600)
    config = tmp_path / "tickd.toml"
    config.write_text(
        "[clickhouse]\n"
        'url = ["https://nowhere.invalid:8443", "https://nor-here.invalid:8443"]\n'
        f'password = {{ file = "{tmp_path / "secret"}" }}\n'
        "[clickhouse.schema]\n"
        'engine = "replicated"\ncluster = "prod"\ndistributed = true\nttl_days = 400\n'
    )
    assert migrate(config, show=True) == 0
    said = capsys.readouterr().out
    assert said.startswith("CREATE DATABASE IF NOT EXISTS tickd ON CLUSTER 'prod';\n")
    statements = said.split(";\n\n")
    for table in EVENT_TABLES:
        assert any(f"tickd.{table}_all ON CLUSTER 'prod'" in each for each in statements)
    assert "hush" not in said
    assert "ReplicatedMergeTree" in said
    # The tables' life is part of what would be done.
    assert "MODIFY TTL toDateTime(ts_recv) + toIntervalDay(400)" in said
