"""Who may send while what is broken, on a clock that the test moves."""

import pytest

from recorder.errors import (
    BlockRefusedError,
    SchemaRefusedError,
    ServerBusyError,
    ServerUnreachableError,
)
from recorder.sink.circuits import Circuits
from recorder.sink.retry import CircuitState, RetryPolicy
from tickd.testing.clock import ManualClock

TABLES = ("trades", "quotes")
SECOND_NS = 10**9


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def circuits(clock):
    policy = RetryPolicy(delay_ms_min=1_000, delay_ms_max=8_000)
    made = Circuits(TABLES, policy=policy, failures_max=2, clock=clock, random=lambda: 1.0)
    made.open()
    return made


def unreachable():
    return ServerUnreachableError("away", scope="server", outcome="unknown")


def schema():
    return SchemaRefusedError("no such column", scope="table", outcome="refused")


def test_nothing_is_allowed_before_the_tables_are_there(clock):
    shut = Circuits(TABLES, policy=RetryPolicy(), failures_max=1, clock=clock, random=lambda: 1.0)
    assert not shut.allow("trades")
    assert not shut.allow_question()
    assert not shut.server_available
    shut.open()
    assert shut.allow("trades")
    assert shut.server_available


def test_an_unreachable_server_stops_every_table_and_one_probe_tries(circuits, clock):
    circuits.failed(unreachable(), "trades")
    assert circuits.server_available
    circuits.failed(unreachable(), "quotes")
    assert not circuits.server_available
    assert circuits.server.state is CircuitState.OPEN
    assert not any(map(circuits.allow, TABLES))
    assert circuits.closed_for_ns("quotes") == SECOND_NS
    clock.move(SECOND_NS)
    assert [circuits.allow(table) for table in (*TABLES, *TABLES)] == [True, False, False, False]
    circuits.answered("trades")
    assert all(map(circuits.allow, TABLES))
    assert circuits.closed_for_ns("quotes") <= 0, "a pause of the outage outlived it"


def test_a_refused_table_stops_alone_and_the_server_counts_as_answering(circuits):
    circuits.failed(unreachable(), "quotes")
    for attempt in range(2):
        circuits.failed(schema(), "trades", attempt=attempt)
    assert circuits.table_refused("trades")
    assert not circuits.allow("trades")
    assert not circuits.table_refused("quotes")
    assert circuits.server_available
    circuits.failed(unreachable(), "quotes")
    assert circuits.server_available, "failures before the answer still counted"


def test_a_refused_block_says_nothing_against_its_table(circuits):
    for _ in range(5):
        circuits.failed(BlockRefusedError("overflow"), "trades")
    assert circuits.server_available
    assert not circuits.table_refused("trades")


def test_a_probe_of_a_table_does_not_use_up_the_one_of_the_server(circuits, clock):
    for _ in range(2):
        circuits.failed(schema(), "trades")
        circuits.failed(unreachable(), "quotes")
    clock.move(SECOND_NS)
    circuits.server.failed(clock.mono_ns())
    clock.move(60 * SECOND_NS)
    assert circuits.allow_question()  # somebody else asks the server
    assert not circuits.allow("trades")
    assert circuits.tables["trades"].state is CircuitState.OPEN, "the table's probe was lost"


def test_what_the_server_asks_for_is_kept_even_beyond_the_cap(circuits, clock):
    busy = ServerBusyError("too many", scope="server", outcome="refused", retry_after_s=60)
    circuits.failed(busy, "trades")
    clock.move(60 * SECOND_NS - 1)
    assert not any(map(circuits.allow, TABLES))
    clock.move(1)
    assert circuits.allow("quotes")


def test_what_was_asked_of_one_table_outlives_the_answer_to_another(circuits, clock):
    """The other insert was under way when the server said "in a minute"."""
    busy = ServerBusyError("too many", scope="server", outcome="refused", retry_after_s=60)
    circuits.failed(busy, "trades")
    circuits.answered("quotes")
    assert circuits.closed_for_ns("quotes") <= 0
    assert circuits.closed_for_ns("trades") == 60 * SECOND_NS
    clock.move(60 * SECOND_NS)
    assert circuits.closed_for_ns("trades") <= 0


def test_failures_are_counted_by_kind_and_the_last_reason_is_told(circuits):
    circuits.failed(unreachable(), "trades")
    circuits.failed(schema(), "trades")
    assert circuits.attempts_failed == {"ServerUnreachableError": 1, "SchemaRefusedError": 1}
    assert circuits.fault == "no such column"
    circuits.answered()
    assert circuits.fault is None
