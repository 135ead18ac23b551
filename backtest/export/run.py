"""One export from its request to its files and its manifest.

Reads cuts from a source, keeps what was asked for, hashes it, hands it to the format, and makes the
files appear together. It knows neither where rows come from nor how a format writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from backtest.export.content import ContentHash, content_hash
from backtest.export.errors import ExportError
from backtest.export.files import OutputFiles, write_error
from backtest.export.formats.port import Format, FormatOptions, Job, Output, Written
from backtest.export.layout import fields_of
from backtest.export.selection import Selected
from tickd.describe import time_text
from tickd.events import Flag
from tickd.native import VERSION
from tickd.rows import NO_INSTRUMENT, Cut, Damage, Definition, RowSource, SourceFacts, TableRows

__all__ = ["SCHEMA_VERSION", "Gap", "Report", "Request", "run_export"]

# Of the exported columns and of the content hash.
SCHEMA_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
_GAPS_LISTED_MAX: Final = 1_000
_NS_MAX: Final = (1 << 63) - 1


class Request(NamedTuple):
    """What is wanted; times are of the receive clock, None as far as the source goes."""

    patterns: tuple[str, ...]
    from_ns: int | None
    to_ns: int | None
    out: Path
    options: FormatOptions = FormatOptions()
    overwrite: bool = False
    lead_in_ns: int = 0  # how far before `from_ns` a book may begin


class Gap(NamedTuple):
    """A recorded loss inside the range."""

    topic: str
    cause: str
    from_ns: int
    to_ns: int
    missing: int | None


class Report(NamedTuple):
    """What was written."""

    files: tuple[Written, ...]
    rows: dict[str, int]
    hash: str
    gaps: tuple[Gap, ...]  # the first thousand
    gaps_total: int
    damage: tuple[Damage, ...]
    manifest: Path
    notes: tuple[str, ...]


Progress = Callable[[float, int], None]


async def run_export(
    source: RowSource, output_format: Format, request: Request, on_progress: Progress | None = None
) -> Report:
    """Write the files. Raises ExportError and the source's TickdError; then no file is there."""
    facts = await source.facts()
    selected = Selected(request.patterns, facts.definitions)
    tables = output_format.tables(selected)
    _refuse_outside(request, facts)
    folder, file_name = _place(request.out, output_format.suffix)
    files = OutputFiles(folder, overwrite=request.overwrite)
    manifest = f"{file_name}.{MANIFEST}" if file_name else MANIFEST
    files.begin()
    files.refuse_existing([manifest])
    from_ns = request.from_ns or 0
    job = Job(selected, files, request.options, _metadata(request, facts), from_ns, file_name)
    output: Output | None = None
    try:
        output = output_format.open(job)
        export = _Export(selected, tables, facts, from_ns, request.to_ns)
        await _copy(source, output, export, tables=tables, request=request, on_progress=on_progress)
        written = tuple(output.finish(export.hashes))
        report = export.report(written, source.damage(), folder / manifest)
        _write_manifest(files, manifest, _described(source, output_format, request, job, report))
        files.commit()
    except OSError as error:
        _give_up(output, files)
        raise write_error(folder, error) from error
    except BaseException:
        _give_up(output, files)
        raise
    return report


async def _copy(
    source: RowSource,
    output: Output,
    export: _Export,
    *,
    tables: tuple[str, ...],
    request: Request,
    on_progress: Progress | None,
) -> None:
    # Gaps are always read: a summary that hides them would be a lie.
    wanted = tuple(dict.fromkeys((*tables, "gaps")))
    lead_in_ns = request.lead_in_ns if "book" in tables else 0
    begin = max((request.from_ns or 0) - lead_in_ns, 0)
    to_ns = _NS_MAX if request.to_ns is None else request.to_ns
    ids = sorted({each.instrument for each in export.selected.instruments} | {0})
    chosen = None if export.selected.everything else ids
    async for cut in source.cuts(wanted, begin, to_ns, chosen):
        output.write(export.take(cut))
        if on_progress is not None:
            on_progress(export.done, export.rows)


class _Export:
    """What has been taken so far."""

    def __init__(
        self,
        selected: Selected,
        tables: tuple[str, ...],
        facts: SourceFacts,
        from_ns: int,
        to_ns: int | None,
    ) -> None:
        self.selected = selected
        self._definitions = facts.definitions
        self._from_ns = from_ns
        self._span = (
            max(from_ns, facts.first_ns or 0),
            min(each for each in (to_ns, facts.last_ns, _NS_MAX) if each is not None),
        )
        self.hashes = {table: ContentHash(table) for table in tables}
        self._gaps: list[Gap] = []
        self._gaps_total = 0
        self._last_seq: dict[str, int] = {}
        self.done = 0.0
        self.notes: list[str] = []

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.hashes.values())

    def take(self, cut: Cut) -> Cut:
        """Return what the format is to see. Raises ExportError."""
        taken = []
        for rows in cut:
            if not len(rows):
                continue
            self._check_order(rows)
            self._note_progress(int(rows.integers("ts_recv")[-1]))
            if rows.table == "gaps":
                self._note_gaps(rows)
            if rows.table not in self.hashes:
                continue
            chosen = self.selected.take(rows)
            self.hashes[rows.table].add(chosen.take(chosen.integers("ts_recv") >= self._from_ns))
            if len(chosen):
                taken.append(chosen)
        return taken

    def report(self, written: tuple[Written, ...], damage: Any, manifest: Path) -> Report:
        return Report(
            files=written,
            rows={table: each.rows for table, each in self.hashes.items()},
            hash=content_hash(self.hashes),
            gaps=tuple(self._gaps),
            gaps_total=self._gaps_total,
            damage=tuple(damage),
            manifest=manifest,
            notes=tuple(self.notes),
        )

    def _check_order(self, rows: TableRows) -> None:
        """Every row once and in order, or the source is not what it should be."""
        seqs = rows.integers("seq")
        first, before = int(seqs[0]), self._last_seq.get(rows.table, -1)
        if first <= before or not bool((seqs[1:] > seqs[:-1]).all()):
            raise ExportError(
                f"{rows.table} gives rows twice or out of order behind seq {max(first, before)}",
                hint="ask `tickd verify`, or export from the raw log: --source raw",
            )
        self._last_seq[rows.table] = int(seqs[-1])

    def _note_progress(self, recv_ns: int) -> None:
        first, last = self._span
        if last > first:
            self.done = max(self.done, min((recv_ns - first) / (last - first), 1.0))

    def _note_gaps(self, rows: TableRows) -> None:
        ids = [each.instrument for each in self.selected.instruments]
        wanted = {*ids, 0}
        names = {field.name: field.names for field in fields_of("gaps", "list")}
        columns = ("instrument", "cause", "channel", "ts_event", "ts_recv", "missing", "flags")
        for row in zip(*(rows.integers(name).tolist() for name in columns), strict=True):
            instrument, cause, channel, since, until, missing, flags = row
            if flags & Flag.BACKFILLED:  # the end of a gap
                continue
            if instrument not in wanted or until < self._from_ns:
                continue
            self._gaps_total += 1
            if len(self._gaps) < _GAPS_LISTED_MAX:
                topic = self._topic(instrument, names["channel"].get(channel, str(channel)))
                count = None if missing == (1 << 64) - 1 else missing
                text = names["cause"].get(cause, str(cause))
                self._gaps.append(Gap(topic, text, since, until, count))

    def _topic(self, instrument: int, channel: str) -> str:
        known: Definition | None = self._definitions.get(instrument)
        return f"{channel}.{known.venue}.{known.symbol}" if known else "gap.tickd.frames"


def _refuse_outside(request: Request, facts: SourceFacts) -> None:
    from_ns, to_ns = request.from_ns, request.to_ns
    if from_ns is not None and to_ns is not None and from_ns >= to_ns:
        raise ExportError(
            f"the range is empty: {time_text(from_ns)} is not before {time_text(to_ns)}",
            hint="--from is included, --to is not",
        )
    if facts.first_ns is None or facts.last_ns is None:
        raise ExportError("the source holds no rows")
    if (from_ns is not None and from_ns > facts.last_ns) or (
        to_ns is not None and to_ns <= facts.first_ns
    ):
        raise ExportError(
            "nothing was recorded in this range",
            hint=f"the source reaches from {time_text(facts.first_ns)} to "
            f"{time_text(facts.last_ns)}",
        )


def _place(out: Path, suffix: str) -> tuple[Path, str | None]:
    """The folder, and the file's name where one file was asked for."""
    if out.suffix == suffix and not out.is_dir():
        return out.parent, out.name
    if out.is_file():
        raise ExportError(f"{out} is a file, not a folder", hint=f"name it *{suffix} or a folder")
    return out, None


def _metadata(request: Request, facts: SourceFacts) -> dict[str, str]:
    return {
        "tickd.version": VERSION,
        "tickd.schema_version": str(SCHEMA_VERSION),
        "tickd.node": str(facts.node),
        "tickd.from_ns": "" if request.from_ns is None else str(request.from_ns),
        "tickd.to_ns": "" if request.to_ns is None else str(request.to_ns),
        "tickd.topics": ",".join(request.patterns),
    }


def _described(
    source: RowSource, output_format: Format, request: Request, job: Job, report: Report
) -> dict[str, object]:
    """The manifest: everything that a reader needs beside the files."""
    return {
        "kind": "tickd-export",
        "tickd": VERSION,
        "schema_version": SCHEMA_VERSION,
        "format": output_format.name,
        "options": request.options._asdict(),
        "source": source.name,
        "node": int(job.metadata["tickd.node"]),
        "topics": list(request.patterns),
        "from_ns": request.from_ns,
        "to_ns": request.to_ns,
        "rows": report.rows,
        "hash": report.hash,
        "files": [each._asdict() for each in report.files],
        "instruments": [
            each._asdict() for each in job.selected.instruments if each != NO_INSTRUMENT
        ],
        "gaps_total": report.gaps_total,
        "gaps": [each._asdict() for each in report.gaps],
        "damage": [each._asdict() for each in report.damage],
        "notes": list(report.notes),
    }


def _write_manifest(files: OutputFiles, name: str, described: dict[str, object]) -> None:
    encoded = msgspec.json.format(msgspec.json.encode(described), indent=1)
    files.create(name).write_bytes(encoded + b"\n")


def _give_up(output: Output | None, files: OutputFiles) -> None:
    if output is not None:
        output.abandon()
    files.discard()
