"""Names both ways: what dashboards read is exposed, and what is exposed is read by somebody.

What a daemon exposes is taken from docs/metrics.md, which is generated from the code, every option
switched on, and compared with it by a test of its own.
"""

from __future__ import annotations

import re

from dashboards.operator_only import OPERATOR_ONLY
from tests.harness.panels import (
    PARTS,
    ROOT,
    dashboards,
    folded,
    names_in_dashboards,
    names_in_rules,
    of_absent_parts,
    questions,
    recorded_names,
    rules,
    selectors,
)

PAGE = ROOT / "docs" / "metrics.md"
# Made by Prometheus itself.
FOREIGN = {"up", "ALERTS"}


def exposed() -> set[str]:
    return set(re.findall(r"`((?:tickd|process)_[a-z0-9_]+)(?:\{[^`]*)?`", PAGE.read_text()))


def test_every_metric_of_a_dashboard_is_exposed_or_recorded() -> None:
    """Nobody is excused: the page is of a daemon with every part."""
    known = exposed()
    used = folded(names_in_dashboards() - recorded_names() - FOREIGN, known)
    assert used - known == set()


def test_every_exposed_metric_is_used_or_said_to_be_for_the_operator() -> None:
    known = exposed()
    used = folded(names_in_dashboards() | names_in_rules(), known)
    assert known - used - OPERATOR_ONLY.keys() == set()


def test_what_is_said_to_be_for_the_operator_is_in_no_dashboard_and_has_a_reason() -> None:
    used = folded(names_in_dashboards(), set(OPERATOR_ONLY))
    assert used & OPERATOR_ONLY.keys() == set()
    assert all(len(reason) > 10 for reason in OPERATOR_ONLY.values())
    assert all(re.fullmatch(r"tickd_\w+", name) for name in OPERATOR_ONLY)


def test_books_are_out_of_sync_where_the_alert_says_so() -> None:
    """Books that were given up for lack of room (shed) are no fault of sync."""
    books = "tickd_gateway_books"
    (alert,) = (rule for rule in rules() if rule.get("alert") == "TickdBookOutOfSync")
    (wanted,) = {each.matchers["state"] for each in selectors(alert["expr"]) if each.name == books}
    asked = {
        (question.place, each.matchers["state"])
        for name, board in dashboards().items()
        for question in questions(name, board)
        if not question.is_sql
        for each in selectors(question.text)
        if each.name == books and "state" in each.matchers
    }
    assert len(asked) >= 2
    assert {state for _, state in asked} == {wanted}, asked


def test_only_what_is_declared_somewhere_may_be_absent() -> None:
    known = exposed()
    assert [part for part in PARTS if not any(name.startswith(part) for name in known)] == []


def test_a_part_is_there_whole_or_not_at_all() -> None:
    used = {"tickd_app_trace_batches_total", "tickd_app_trace_pending", "tickd_other_total"}
    assert of_absent_parts(used, {"tickd_other_total"}) == used - {"tickd_other_total"}
    assert of_absent_parts(used, {"tickd_app_trace_pending"}) == set()
