"""Where clauses go: the cuts of statements, by example and by random data after the head."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.embedded.statement import StatementError, parse_statement


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "SELECT 1\nINTO OUTFILE 'p' TRUNCATE\nFORMAT TSV "),
        ("SELECT 1;", "SELECT 1\nINTO OUTFILE 'p' TRUNCATE\nFORMAT TSV "),
        ("select 1 format JSON ; -- end", "select 1\nINTO OUTFILE 'p' TRUNCATE\nFORMAT JSON "),
        (
            "SELECT 1 FORMAT JSON SETTINGS a=1",
            "SELECT 1\nINTO OUTFILE 'p' TRUNCATE\nFORMAT JSON SETTINGS a=1",
        ),
        ("SELECT 1 -- FORMAT CSV", "SELECT 1\nINTO OUTFILE 'p' TRUNCATE\nFORMAT TSV "),
        ("SELECT ' FORMAT CSV'", "SELECT ' FORMAT CSV'\nINTO OUTFILE 'p' TRUNCATE\nFORMAT TSV "),
        (
            "SELECT ';', (SELECT format('x'))",
            "SELECT ';', (SELECT format('x'))\nINTO OUTFILE 'p' TRUNCATE\nFORMAT TSV ",
        ),
        (
            "/* a */ WITH 1 AS x SELECT x",
            "/* a */ WITH 1 AS x SELECT x\nINTO OUTFILE 'p' TRUNCATE\nFORMAT TSV ",
        ),
        (
            "(SELECT 1) UNION ALL (SELECT 2)",
            "(SELECT 1) UNION ALL (SELECT 2)\nINTO OUTFILE 'p' TRUNCATE\nFORMAT TSV ",
        ),
    ],
)
def test_read_gets_its_destination_before_format(sql: str, expected: str) -> None:
    statement = parse_statement(sql.encode())
    assert statement.kind == "read"
    assert statement.into("p", "TSV") == expected


@pytest.mark.parametrize(
    ("sql", "expected", "data"),
    [
        (b"INSERT INTO t FORMAT TSV\n1;2", "INSERT INTO t\nFROM INFILE 'p'\n FORMAT TSV", b"1;2"),
        (
            b"insert into t (a, b) format Native\r\n\n",
            "insert into t (a, b)\nFROM INFILE 'p'\n FORMAT Native",
            b"\n",
        ),
        (
            b"INSERT INTO t SETTINGS x=1 FORMAT CSV \n1",
            "INSERT INTO t\nFROM INFILE 'p'\nSETTINGS x=1 FORMAT CSV",
            b"1",
        ),
        (
            b"INSERT INTO t VALUES (1, ';')",
            "INSERT INTO t\nFROM INFILE 'p'\n FORMAT Values",
            b" (1, ';')",
        ),
        (
            b"INSERT INTO `values` VALUES (1)",
            "INSERT INTO `values`\nFROM INFILE 'p'\n FORMAT Values",
            b" (1)",
        ),
        (
            b"INSERT INTO d.format (`format`) FORMAT TSV\n",
            "INSERT INTO d.format (`format`)\nFROM INFILE 'p'\n FORMAT TSV",
            b"",
        ),
    ],
)
def test_insert_gets_its_source_and_keeps_its_data(sql: bytes, expected: str, data: bytes) -> None:
    statement = parse_statement(sql)
    assert statement.kind == "insert"
    assert statement.data_from("p") == expected
    assert sql[statement.data_start :] == data


@given(st.binary(max_size=300))
def test_data_after_the_head_never_changes_the_cut(data: bytes) -> None:
    head = b"INSERT INTO t (a) FORMAT RowBinary\n"
    statement = parse_statement(head + data)
    assert statement.kind == "insert"
    assert statement.data_start == len(head)


@given(st.binary(max_size=300))
def test_any_bytes_are_cut_or_refused(text: bytes) -> None:
    try:
        parse_statement(text)
    except StatementError as error:
        assert str(error).startswith("Code: ")  # noqa: PT017


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (a Int8) ENGINE = Memory",
        "INSERT INTO t SELECT 1",
        "SET a = 1",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT 1",
    ],
)
def test_other_statements_stay_whole(sql: str) -> None:
    statement = parse_statement(sql.encode())
    assert (statement.kind, statement.head) == ("other", sql)
    assert not statement.changes_database


def test_use_is_noticed() -> None:
    assert parse_statement(b"USE x").changes_database


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("", 62),
        ("-- nothing", 62),
        ("SELECT 1; DROP TABLE t", 62),
        ("SELECT 1 INTO OUTFILE '/etc/x'", 358),
        ("INSERT INTO t FROM INFILE '/etc/x' FORMAT TSV", 48),
        ("INSERT INTO t SELECT * FROM input('a Int8') FORMAT TSV 1", 48),
    ],
)
def test_refused_statements_carry_a_code(sql: str, code: int) -> None:
    with pytest.raises(StatementError, match=f"Code: {code}\\."):
        parse_statement(sql.encode())
