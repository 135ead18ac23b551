"""Migrations as files and as history; the run against servers is in tests/integration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.config import ClickHouseConfig
from recorder.embedded.supervisor import EmbeddedClickHouse
from recorder.errors import ClickHouseError
from recorder.schema.migrate import (
    Migration,
    MigrationError,
    ddl_directory,
    migrate,
    read_migrations,
)

PLACES = {"database": "d", "user": "u", "password": "p"}


def test_shipped_files_are_read_and_every_place_is_known() -> None:
    migrations = read_migrations(ddl_directory())
    assert [m.number for m in migrations] == list(range(1, len(migrations) + 1))
    for migration in migrations:
        for statement in migration.statements(PLACES):
            assert "{{" not in statement
            # A run that was cut off is run again: what a statement did must not stop it.
            repeatable = statement.startswith("CREATE ") and " IF NOT EXISTS " in statement
            again = r"ALTER TABLE \S+\s+MODIFY (COLUMN|QUERY)\s|CREATE OR REPLACE VIEW "
            assert repeatable or re.match(again, statement)


def test_statements_end_with_a_semicolon_at_a_line_end() -> None:
    text = "-- c;\nCREATE A ';x';\n\nCREATE {{database}};\n"
    assert Migration(1, "001_a", text).statements(PLACES) == ["CREATE A ';x'", "CREATE d"]
    with pytest.raises(MigrationError, match="unknown place"):
        Migration(1, "001_a", "CREATE {{nope}};").statements(PLACES)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([], "no migrations"),
        (["1_a.sql"], "not named"),
        (["001_a.sql", "003_b.sql"], "not numbered"),
        (["001_a.sql", "001_b.sql"], "not numbered"),
    ],
)
def test_unusable_folders_are_refused(tmp_path: Path, names: list[str], complaint: str) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=complaint):
        read_migrations(tmp_path)


@pytest.mark.embedded
async def test_changed_and_unknown_history_is_refused_before_anything_runs(tmp_path: Path) -> None:
    pytest.importorskip("chdb")
    one = Migration(
        1, "001_a", "CREATE TABLE IF NOT EXISTS {{database}}.a (x Int8) ENGINE = Memory;"
    )
    two = Migration(
        2, "002_b", "CREATE TABLE IF NOT EXISTS {{database}}.b (x Int8) ENGINE = Memory;"
    )
    broken = Migration(
        3, "003_c", "CREATE TABLE IF NOT EXISTS {{database}}.c (x Nope) ENGINE = Memory;"
    )
    changed = Migration(1, "001_a", one.text + "-- later")
    async with EmbeddedClickHouse(tmp_path).serving() as endpoint:
        server = ClickHouse(ClickHouseConfig(database="d"), lambda: endpoint)
        assert (await migrate(server, migrations=[one])).applied == ("001_a",)
        with pytest.raises(MigrationError, match="changed after it was applied") as caught:
            await migrate(server, migrations=[changed, two])
        assert "new migration" in (caught.value.hint or "")
        assert await server.command("EXISTS d.b") == b"0\n"
        with pytest.raises(ClickHouseError) as refused:
            await migrate(server, migrations=[one, two, broken])
        assert refused.value.code == 50
        report = await migrate(server, migrations=[one, two])
        assert (report.applied, report.already) == ((), 2)
        with pytest.raises(MigrationError, match="does not know"):
            await migrate(server, migrations=[one])
        await server.close()
