"""Shipped files against the store: whether each object is there, with the size that was written.

By HEAD only, so that a year of segments is asked for in seconds; `tickd ship --verify` reads all of
them back. It fetches nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recorder.ship.config import ShipConfig
from recorder.ship.errors import ShipError
from recorder.verify.files import shipped_files
from recorder.verify.report import Finding, Kind, VerifyReport

__all__ = ["check_objects"]


async def check_objects(
    report: VerifyReport, lines: Sequence[Mapping[str, Any]], config: ShipConfig
) -> None:
    """Ask the configured store about each file that the manifest calls shipped.

    Raises ConfigError: the store refuses its settings.
    """
    shipped = shipped_files(list(lines))
    if not shipped:
        return
    if not config.url:
        report.unchecked.append(f"{len(shipped)} shipped files: [ship] names no store")
        return
    from recorder.ship.store import open_bucket  # noqa: PLC0415 - an extra

    bucket = open_bucket(config)
    elsewhere = 0
    for line in shipped:
        if line["url"] != config.url:
            elsewhere += 1
            continue
        try:
            stat = await bucket.stat(str(line["key"]))
        except ShipError as error:
            report.unchecked.append(f"the store: {error}")
            return
        report.checked.objects += 1
        only = "its only copy " if line["kind"] == "removed" else "its copy "
        if stat is None:
            text = f"{only}{line['key']} is not in the store"
            report.add(Finding(kind=Kind.OBJECT_MISSING, where=str(line["file"]), text=text))
        elif stat.bytes != line["bytes"]:
            text = f"{only}{line['key']} has {stat.bytes} bytes, {line['bytes']} were shipped"
            report.add(Finding(kind=Kind.OBJECT_DIFFERS, where=str(line["file"]), text=text))
    if elsewhere:
        report.unchecked.append(f"{elsewhere} files that were shipped to another store")
