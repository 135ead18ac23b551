"""Shipped files against a store: a folder here; real object stores are shipping's own tests."""

from __future__ import annotations

import pytest

from recorder.ship.config import ShipConfig
from recorder.verify.objects import check_objects
from recorder.verify.report import Kind, VerifyReport

pytest.importorskip("obstore")


@pytest.fixture
def store(tmp_path):
    (tmp_path / "1").mkdir()
    for name in ("a", "b"):
        (tmp_path / "1" / name).write_bytes(b"x" * 10)
    return ShipConfig(url=f"file://{tmp_path}")


def line(store, name, kind="removed", **changes):
    said = {"kind": kind, "file": f"segments/{name}", "bytes": 10, "hash": "0" * 16}
    return said | {"url": store.url, "key": f"1/{name}", "e_tag": None} | changes


async def asked(lines, store):
    report = VerifyReport()
    await check_objects(report, lines, store)
    return report


async def test_objects_that_are_there_are_counted(store):
    report = await asked([line(store, "a"), line(store, "b", kind="verified")], store)
    assert (report.findings, report.unchecked, report.checked.objects) == ([], [], 2)


async def test_the_last_line_about_a_file_counts(store):
    lines = [line(store, "a", key="1/old"), line(store, "a", kind="verified")]
    assert (await asked(lines, store)).checked.objects == 1


async def test_a_missing_object_is_named(store):
    report = await asked([line(store, "c")], store)
    (found,) = report.findings
    assert (found.kind, found.where) == (Kind.OBJECT_MISSING, "segments/c")
    assert "only copy" in found.text


async def test_an_object_of_another_size_is_named(store):
    (found,) = (await asked([line(store, "a", bytes=11)], store)).findings
    assert found.kind is Kind.OBJECT_DIFFERS


async def test_what_cannot_be_asked_is_said(store):
    elsewhere = await asked([line(store, "a", url="s3://other")], store)
    assert len(elsewhere.unchecked) == 1
    nowhere = await asked([line(store, "a")], ShipConfig())
    assert len(nowhere.unchecked) == 1
    assert not nowhere.ok


async def test_nothing_shipped_needs_no_store():
    assert (await asked([{"kind": "sealed", "segment": "a"}], ShipConfig())).ok
