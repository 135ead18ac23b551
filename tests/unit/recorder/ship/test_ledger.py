"""States of files from lines of a manifest, in every order in which they can come."""

from __future__ import annotations

import json
from typing import Any

from recorder.ship.keys import Keys
from recorder.ship.ledger import Ledger, Shipment, note_line

NAME = "00000000000000000010-20261120T052803.tkraw"


def sealed(**fields: Any) -> dict[str, Any]:
    return {
        "line": 0,
        "at_ns": 1,
        "kind": "sealed",
        "segment": NAME,
        "bytes": 100,
        "hash": "d" * 16,
        "frame_first": 10,
        "frame_last": 19,
        "recv_first": 1,
        "recv_last": 2,
        "sum": "s",
        **fields,
    }


def note(kind: str, **fields: Any) -> dict[str, Any]:
    shipment = Shipment(file=f"segments/{NAME}", bytes=100, hash="h", url="u", key="k")
    return {"line": 1, "at_ns": 5, "sum": "t", **json.loads(note_line(kind, shipment)), **fields}  # type: ignore[arg-type]


def state(*lines: dict[str, Any], url: str | None = "u") -> Any:
    return Ledger.of(lines, url).segments[NAME]


def test_safe_means_shipped_and_read_back_with_the_same_content() -> None:
    assert not state(sealed()).is_safe
    assert not state(sealed(), note("shipped")).is_safe
    assert state(sealed(), note("shipped"), note("verified")).is_safe
    assert state(sealed(), note("shipped"), note("verified", e_tag="x")).is_safe
    assert not state(sealed(), note("shipped"), note("verified"), note("shipped", hash="o")).is_safe
    assert not state(sealed(), note("verified", key="o"), note("shipped")).is_safe


def test_another_store_does_not_count_but_removal_does() -> None:
    lines = (sealed(), note("shipped"), note("verified"), note("removed"))
    assert not state(*lines, url="v").is_safe
    assert state(*lines, url="v").removed is not None
    assert state(*lines, url=None).is_safe


def test_restored_ends_removed() -> None:
    gone = (sealed(), note("shipped"), note("verified"), note("removed"))
    back = state(*gone, note("restored", at_ns=77))
    assert back.removed is None
    assert back.restored_ns == 77
    assert state(*gone, note("restored"), note("removed")).removed is not None


def test_in_store_only_by_frames_and_by_what_is_here() -> None:
    ledger = Ledger.of([sealed(), note("shipped"), note("verified"), note("removed")], "u")
    assert [each.name for each in ledger.in_store_only(19, 19, ())] == [NAME]
    assert ledger.in_store_only(20, 99, ()) == []
    assert ledger.in_store_only(0, 9, ()) == []
    assert ledger.in_store_only(0, 99, {NAME}) == []


def test_unknown_kinds_and_lines_without_a_segment_are_passed_over() -> None:
    ledger = Ledger.of(
        [{"line": 0, "kind": "other", "sum": "x", "at_ns": 0}, note("shipped"), sealed()], "u"
    )
    assert ledger.segments[NAME].shipped is None
    assert (ledger.lines, ledger.last_sum) == (1, "s")


def test_sealed_again_keeps_what_was_shipped_before() -> None:
    again = state(sealed(), note("shipped"), note("verified"), sealed(bytes=90, hash="e" * 16))
    assert again.is_safe
    assert (again.bytes, again.data_hash) == (90, "e" * 16)


def test_keys() -> None:
    keys = Keys("a/b", 3)
    assert keys.segment(NAME) == f"a/b/3/2026/11/20/{NAME}"
    assert keys.aside("sink/spool/t/1.spool", "ff") == "a/b/3/aside/sink/spool/t/1.spool-ff"
    assert keys.manifest(12, "ab") == "a/b/3/manifest/000000000012-ab.jsonl"
    staging = keys.staging(keys.segment(NAME), 77, "n")
    assert staging == f"a/b/3/uploading/{NAME}-77-n"
    assert keys.begun_s(staging) == 77
    assert keys.begun_s("a/b/3/uploading/x") is None
    assert keys.begun_s(staging.replace("uploading", "other")) is None
