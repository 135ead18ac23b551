"""A small raw log and its rows in a real ClickHouse: what verify is to find whole, until damaged.

Blocks are built and inserted directly; no daemon, no sink. Node 1.
"""

from __future__ import annotations

import gc
import shutil
from dataclasses import dataclass
from pathlib import Path

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.raw.recover import LogReplay
from recorder.schema.tables import store_segments
from recorder.sink.plan import PlannedBlock
from recorder.verify.report import VerifyReport
from recorder.verify.verify import verify
from tickd.native import Block, BlockBuilder, manifest_read
from tickd.testing.wire_log import WireLog

NODE = 1
SEQ_BITS = 16


@dataclass
class StoredLog:
    """The raw log in `state/raw`, its rows in `clickhouse`."""

    state: Path
    clickhouse: ClickHouse

    @property
    def raw(self) -> Path:
        return self.state / "raw"

    @property
    def segments(self) -> list[Path]:
        return sorted((self.raw / "segments").glob("*.tkraw"))

    def write(self, seed: int, *, bursts: int, frames: int = 100) -> None:
        """Add a life of a daemon that ends in order."""
        log = WireLog(self.raw, seed, segment_bytes_max=60_000, group_bytes=8_000)
        for _ in range(bursts):
            log.burst(frames)
            log.settle()
        log.close()

    def crash(self, seed: int, *, bursts: int) -> None:
        """Add a life that ends with a crash: the directory as it stood before the end."""
        aside = self.state / "living"
        self.raw.rename(aside)
        log = WireLog(aside, seed, segment_bytes_max=60_000, group_bytes=8_000)
        for _ in range(bursts):
            log.burst(100)
            log.settle()
        shutil.copytree(aside, self.raw)
        log.close()
        del log
        gc.collect()
        shutil.rmtree(aside)

    def blocks(self, seq_from: int = 0, seq_to: int | None = None) -> list[Block]:
        """The blocks of a stretch, from the log."""
        builder = BlockBuilder(node=NODE, seq_from=seq_from, seq_to=seq_to)
        frame_to = (1 << 47) if seq_to is None else seq_to >> SEQ_BITS
        for part in LogReplay(self.raw).read(seq_from >> SEQ_BITS, frame_to):
            for definition in part.definitions:
                builder.define(definition)
            if part.batch is not None:
                builder.push(part.batch)
        return builder.finish()

    async def store(self, seq_from: int = 0, seq_to: int | None = None) -> list[PlannedBlock]:
        """Insert the rows of a stretch, and all sealed segments."""
        planned = []
        for block in self.blocks(seq_from, seq_to):
            planned.append(PlannedBlock.of(block, NODE))
            await self.clickhouse.insert_block(block, planned[-1].token)
        await store_segments(self.clickhouse, node=NODE, manifest=manifest_read(str(self.raw)))
        return planned

    async def verify(self, frame_to: int | None = None) -> VerifyReport:
        return await verify(self.raw, self.clickhouse, node=NODE, frame_to=frame_to)

    async def command(self, sql: str) -> None:
        """Run a statement; `{t}` before a table's name is the database."""
        await self.clickhouse.command(sql.replace("{t}", f"{self.clickhouse.database}."))

    async def number(self, sql: str) -> int:
        rows = await self.clickhouse.query(sql.replace("{t}", f"{self.clickhouse.database}."))
        return int(str(rows[0][0]))
