"""Every answer has the class, the outcome and the reach that its code says."""

import pytest

from recorder.clickhouse.answers import code_of, error_of, retry_after_s
from recorder.errors import (
    AccessRefusedError,
    BlockRefusedError,
    SchemaRefusedError,
    ServerBusyError,
    ServerUnreachableError,
)
from tickd.errors import Action

BUSY, AWAY, BLOCK = ServerBusyError, ServerUnreachableError, BlockRefusedError
SCHEMA, ACCESS = SchemaRefusedError, AccessRefusedError


@pytest.mark.parametrize(
    ("code", "text", "kind", "outcome", "scope"),
    [
        (252, "Too many parts (3001 with average size of 1 KiB)", BUSY, "unknown", "table"),
        (252, "Too many partitions for single INSERT block", BLOCK, "refused", "block"),
        (202, "Too many simultaneous queries", BUSY, "refused", "server"),
        (745, "Server overloaded", BUSY, "refused", "server"),
        (241, "Memory limit exceeded", BUSY, "unknown", "server"),
        (243, "Cannot reserve 1.00 MiB, not enough space", BUSY, "unknown", "server"),
        (159, "Timeout exceeded", AWAY, "unknown", "server"),
        (160, "Too slow", AWAY, "unknown", "server"),
        (209, "Socket timeout", AWAY, "unknown", "server"),
        (210, "Network error", AWAY, "unknown", "server"),
        (242, "Table is in readonly mode", AWAY, "unknown", "table"),
        (319, "Unknown status", AWAY, "unknown", "server"),
        (999, "Keeper", AWAY, "unknown", "server"),
        (286, "Quorum for previous write has not been satisfied", AWAY, "unknown", "server"),
        (9999, "Something new", AWAY, "unknown", "server"),
        (27, "Cannot parse input", BLOCK, "refused", "block"),
        (33, "Cannot read all data", BLOCK, "refused", "block"),
        (354, "inflate failed", BLOCK, "refused", "block"),
        (561, "Decompression failed", BLOCK, "refused", "block"),
        (69, "Out of bound", BLOCK, "refused", "block"),
        (117, "Incorrect data", BLOCK, "refused", "block"),
        (407, "Decimal overflow", BLOCK, "refused", "block"),
        (469, "Constraint", BLOCK, "refused", "block"),
        (16, "No such column", SCHEMA, "refused", "table"),
        (47, "Unknown identifier", SCHEMA, "refused", "table"),
        (60, "Table does not exist", SCHEMA, "refused", "table"),
        (62, "Syntax error", SCHEMA, "refused", "table"),
        (81, "Database does not exist", SCHEMA, "refused", "server"),
        (115, "Unknown setting", SCHEMA, "refused", "server"),
        (164, "Readonly", ACCESS, "refused", "server"),
        (194, "Required password", ACCESS, "refused", "server"),
        (497, "Access denied", ACCESS, "refused", "server"),
        (516, "Authentication failed", ACCESS, "refused", "server"),
    ],
)
def test_errors_are_told_apart_by_their_code(code, text, kind, outcome, scope):
    # The status is no guide: ClickHouse says 500 to almost all of these.
    error = error_of(code, text, status=500)
    assert type(error) is kind
    assert (error.code, error.outcome, error.scope) == (code, outcome, scope)
    assert error.action is (Action.SKIP if kind is BLOCK else Action.RETRY)


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (429, BUSY, "refused"),
        (503, BUSY, "unknown"),
        (500, AWAY, "unknown"),
        (502, AWAY, "unknown"),
        (504, AWAY, "unknown"),
        (401, ACCESS, "refused"),
        (403, ACCESS, "refused"),
        (413, ACCESS, "refused"),
        (404, AWAY, "refused"),
        (302, AWAY, "refused"),
        (None, AWAY, "unknown"),
    ],
)
def test_without_a_code_the_answer_is_a_proxys(status, kind, outcome):
    page = "<html><head><title>Error</title></head><body>\n  <h1>no  luck</h1></body></html>"
    error = error_of(None, page, status=status, retry_after_s=5.0)
    assert (type(error), error.outcome, error.code) == (kind, outcome, None)
    assert str(error).endswith(": Error no luck")
    assert error.scope == "server"


def test_the_code_is_the_headers_then_the_texts_and_never_a_proxys():
    text = "Code: 60. DB::Exception: Table does not exist"
    assert code_of(text, "81") == 81
    assert code_of(text, None) == 60
    assert code_of(text, "nonsense") == 60
    assert code_of("Code: 47, e.displayText() = DB::Exception: Unknown", None) == 47
    assert code_of("<h1>Error Code: 502. Bad gateway</h1>", None) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "9999999"}, 3600.0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Fri, 20 Nov 2026 10:00:30 GMT"}, None),
        ({}, None),
        (
            {
                "Retry-After": "Fri, 20 Nov 2026 10:00:30 GMT",
                "Date": "Fri, 20 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "Retry-After": "Fri, 20 Nov 2026 09:00:00 GMT",
                "Date": "Fri, 20 Nov 2026 10:00:00 GMT",
            },
            0.0,
        ),
    ],
)
def test_retry_after_is_seconds_or_a_date_against_the_answers_own(headers, seconds):
    assert retry_after_s(headers) == seconds
