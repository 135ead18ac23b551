"""One export as a whole: what is refused, what is listed, and that files are whole or absent."""

import errno
import json

import pytest

from backtest.export.errors import ExportError, RefusedRowsError
from backtest.export.files import OutputFiles
from backtest.export.formats.port import FormatOptions
from backtest.export.formats.registry import FORMAT_NAMES, find
from backtest.export.run import Request, run_export
from tests.unit.backtest.export.kit import BlockRows
from tickd.rows import Damage


async def export(source, out, *, name="csv", patterns=("*",), span=(None, None), **more):
    return await run_export(source, find(name), Request(patterns, *span, out, **more))


def left(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_the_range_includes_its_begin_and_not_its_end(tmp_path):
    source = BlockRows(seed=1)
    stamps = sorted(row["ts_recv"] for row in source.oracle["quotes"])
    first, last = stamps[10], stamps[50]
    report = await export(source, tmp_path, patterns=("quote.*.*",), span=(first, last))
    assert report.rows["quotes"] == sum(first <= stamp < last for stamp in stamps)


async def test_manifest_has_counts_hash_instruments_and_gaps_although_none_were_asked_for(tmp_path):
    source = BlockRows(seed=1)
    report = await export(source, tmp_path, patterns=("trade.*.*", "aggtrade.*.*"))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["rows"] == {"trades": len(source.oracle["trades"])} == report.rows
    assert manifest["hash"] == report.hash
    assert {each["symbol"] for each in manifest["instruments"]} == {"SYM0", "SYM1", "SYM2"}
    assert report.gaps_total == len(source.oracle["gaps"]) == len(manifest["gaps"]) > 0
    first, gap = source.oracle["gaps"][0], manifest["gaps"][0]
    assert (gap["cause"], gap["from_ns"]) == (first["cause"], first["ts_event"])
    assert left(tmp_path) == ["manifest.json", "trades.csv"]


async def test_damage_is_reported(tmp_path):
    source = BlockRows(seed=1)
    source.damaged.append(Damage("0001.tkraw", 400, 90, "checksum"))
    report = await export(source, tmp_path)
    assert report.damage == (Damage("0001.tkraw", 400, 90, "checksum"),)


async def test_a_range_outside_the_source_is_refused_with_its_span(tmp_path):
    source = BlockRows(seed=1)
    facts = await source.facts()
    with pytest.raises(ExportError, match="nothing was recorded") as caught:
        await export(source, tmp_path, span=(facts.last_ns + 1, None))
    assert "2026-11-2" in str(caught.value.hint)
    with pytest.raises(ExportError, match="nothing was recorded"):
        await export(source, tmp_path, span=(None, facts.first_ns))
    with pytest.raises(ExportError, match="range is empty"):
        await export(source, tmp_path, span=(5, 5))
    assert left(tmp_path) == []


async def test_existing_files_are_refused_and_replaced_only_on_demand(tmp_path):
    source = BlockRows(seed=1)
    await export(source, tmp_path)
    before = (tmp_path / "trades.csv").read_bytes()
    for name in ("manifest.json", "trades.csv"):
        for other in left(tmp_path):
            if other != name:
                (tmp_path / other).unlink()
        with pytest.raises(ExportError, match=f"{name} is there already"):
            await export(source, tmp_path)
        assert left(tmp_path) == [name]
        await export(source, tmp_path, overwrite=True)
        assert (tmp_path / "trades.csv").read_bytes() == before


async def test_an_unfinished_file_of_another_export_is_not_taken_over(tmp_path):
    (tmp_path / "quotes.csv.part").write_text("somebody else's")
    with pytest.raises(ExportError, match="another export is writing it, or one was killed"):
        await export(BlockRows(seed=1), tmp_path)
    assert left(tmp_path) == ["quotes.csv.part"]


async def test_one_file_by_name_needs_topics_of_one_table(tmp_path):
    source = BlockRows(seed=1)
    report = await export(source, tmp_path / "quotes of a day.csv", patterns=("quote.*.*",))
    assert left(tmp_path) == ["quotes of a day.csv", "quotes of a day.csv.manifest.json"]
    assert report.files[0].rows == len(source.oracle["quotes"])
    with pytest.raises(ExportError, match="7 tables, not one file"):
        await export(source, tmp_path / "all.csv")
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ExportError, match="is a file"):
        await export(source, tmp_path / "file.txt")


class _Repeating(BlockRows):
    """A source that gives a cut twice, as tables with doubled rows would."""

    async def cuts(self, *arguments):
        async for cut in super().cuts(*arguments):
            yield cut
            yield cut


@pytest.mark.parametrize("name", FORMAT_NAMES[:4])
async def test_rows_given_twice_end_the_export_and_leave_nothing(name, tmp_path):
    with pytest.raises(ExportError, match="twice or out of order"):
        await export(_Repeating(seed=1), tmp_path, name=name)
    assert left(tmp_path) == []


class _Full(BlockRows):
    """A source that fails as a full disk does, after the first cut."""

    async def cuts(self, *arguments):
        async for cut in super().cuts(*arguments):
            yield cut
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", FORMAT_NAMES[:4])
async def test_a_full_disk_ends_the_export_and_leaves_nothing(name, tmp_path):
    with pytest.raises(ExportError, match="no space left; nothing was kept"):
        await export(_Full(seed=1), tmp_path, name=name)
    assert left(tmp_path) == []


async def test_a_range_without_rows_writes_a_manifest_only(tmp_path):
    source = BlockRows(seed=1)
    stamps = {row["ts_recv"] for rows in source.oracle.values() for row in rows}
    free = next(ns for ns in range(min(stamps) + 1, max(stamps)) if ns not in stamps)
    report = await export(source, tmp_path, span=(free, free + 1))
    assert report.files == ()
    assert left(tmp_path) == ["manifest.json"]


def test_csv_has_no_lists_and_unknown_formats_are_named(tmp_path):
    with pytest.raises(ExportError, match="unknown format"):
        find("xlsx")


async def test_csv_refuses_lists(tmp_path):
    with pytest.raises(ExportError, match="csv has no lists"):
        await export(BlockRows(seed=1), tmp_path, options=FormatOptions(levels="list"))


def test_files_appear_together_and_scratch_never(tmp_path):
    files = OutputFiles(tmp_path / "new", overwrite=False)
    files.begin()
    files.create("a").write_text("1")
    files.create("b").write_text("2")
    files.scratch("c").write_text("3")
    assert left(tmp_path / "new") == ["a.part", "b.part", "c.part"]
    files.commit()
    files.discard()
    assert left(tmp_path / "new") == ["a", "b"]


async def test_everything_means_also_what_nobody_defined_and_that_is_refused(tmp_path):
    source = BlockRows(seed=1)
    source.definitions.pop(min(source.definitions))
    with pytest.raises(RefusedRowsError, match="which nobody defined"):
        await export(source, tmp_path)
    report = await export(source, tmp_path, patterns=("trade.*.*",))
    assert 0 < report.rows["trades"] < len(source.oracle["trades"])
