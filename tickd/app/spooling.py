"""What waits for ClickHouse in files, and what it refused: shown, tried again, let go.

The same for a running daemon (control command `spool`) and for a state directory without one. It
sends nothing: what is tried again is planned again, and the delivery or the repair brings it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from recorder.sink.plan import PlannedBlock
from recorder.sink.plan_thread import PlanThread
from recorder.spool.quarantine import Dropped, Quarantine, Quarantined
from recorder.spool.spool import Spool
from recorder.spool.thread import SpoolThread
from tickd.errors import Action, TickdError
from tickd.native import EVENT_TABLES
from tickd.ports import Clock

RETRIED = "retried"


class Lanes(Protocol):
    """What a running delivery is told."""

    def tell(self) -> None:
        """Something waits that did not before."""


class Spooling:
    """One node's. `lanes` and `record` are None where no daemon runs."""

    def __init__(
        self,
        *,
        plan: PlanThread,
        spool: SpoolThread,
        quarantine: Quarantine,
        clock: Clock,
        lanes: Lanes | None = None,
        record: Callable[[dict[str, object]], object] | None = None,
    ) -> None:
        self._plan = plan
        self._spool = spool
        self._quarantine = quarantine
        self._clock = clock
        self._lanes = lanes
        self._record = record

    def commands(self) -> Mapping[str, Callable[[Mapping[str, object]], Awaitable[object]]]:
        return {"spool": self.answer}

    async def answer(self, request: Mapping[str, object]) -> object:
        """The control command `spool`: `action`, and `tokens`, `who`, `reason` as it needs them."""
        tokens = request.get("tokens") or []
        assert isinstance(tokens, list)
        names = [str(token) for token in tokens]
        match request.get("action"):
            case "list":
                return await self.listing()
            case "retry":
                return {"retried": await self.retry(names)}
            case "drop":
                who, reason = str(request.get("who", "")), str(request.get("reason", ""))
                return {"dropped": await self.drop(names, who=who, reason=reason)}
        raise TickdError(f"no such action: {request.get('action')!r}", action=Action.FATAL)

    async def listing(self) -> dict[str, object]:
        """What waits per table, and what is in quarantine. Raises QuarantineError, OSError."""
        kept = await asyncio.to_thread(self._quarantine.list)
        dropped = await asyncio.to_thread(self._quarantine.dropped)
        return {
            **spool_picture(self._spool.figures),
            "quarantine": [_line(each) for each in kept],
            "dropped": [_dropped_line(each) for each in dropped],
        }

    async def retry(self, tokens: Sequence[str]) -> list[str]:
        """Plan refused blocks again, all without tokens; return theirs.

        Raises QuarantineError, SpoolDamagedError, OSError.
        """
        chosen = await self._chosen(tokens)
        for each in chosen:
            await self._retry(each.planned)
        if chosen and self._lanes is not None:
            self._lanes.tell()
        return [each.token for each in chosen]

    async def drop(self, tokens: Sequence[str], *, who: str, reason: str) -> list[str]:
        """Let refused blocks go for good, with a line that says who, when and why."""
        if not reason.strip():
            raise TickdError("a reason is needed", action=Action.FATAL, hint="--reason TEXT")
        chosen = await self._chosen(tokens)
        for each in chosen:
            drop = partial(
                self._quarantine.drop,
                each.token,
                who=who,
                when_ns=self._clock.wall_ns(),
                reason=reason,
            )
            line = await asyncio.to_thread(drop)
            if self._record is not None:
                self._record({"kind": "quarantine_dropped", **_dropped_line(line)})
        return [each.token for each in chosen]

    async def _retry(self, planned: PlannedBlock) -> None:
        """Owe a block again, durably, before its place in quarantine goes."""
        block = await asyncio.to_thread(self._quarantine.load, planned.token)
        if self._repaired(planned):
            pass  # repair is going to compare these rows anyway; both would bring them twice
        elif block is None:
            # Only the raw log could give them, and may again once a segment is restored.
            await self._plan.spill(planned.table, planned.seq_from, planned.seq_to, RETRIED)
        else:
            await self._plan.replan(planned)
            # A spool without room is no loss: the next start builds it from the raw log.
            if not await self._spool.put(planned, block, unknown=True):
                raise TickdError(
                    f"the spool has no room for {planned.token}",
                    action=Action.RETRY,
                    hint="it is planned: the next start of the daemon sends it",
                )
        await asyncio.to_thread(self._quarantine.release, planned.token)

    def _repaired(self, planned: PlannedBlock) -> bool:
        return any(
            spilled.table == planned.table
            and spilled.seq_from <= planned.seq_to
            and spilled.seq_to >= planned.seq_from
            for spilled in self._plan.spilled()
        )

    async def _chosen(self, tokens: Sequence[str]) -> list[Quarantined]:
        kept = {each.token: each for each in await asyncio.to_thread(self._quarantine.list)}
        unknown = sorted(set(tokens) - kept.keys())
        if unknown:
            raise TickdError(
                f"not in quarantine: {', '.join(unknown)[:500]}",
                action=Action.FATAL,
                hint="see: tickd spool list",
            )
        return [kept[token] for token in tokens] if tokens else list(kept.values())


def spool_picture(spool: Spool) -> dict[str, Any]:
    """What waits in a spool, as JSON."""
    tables = {table: spool.table(table) for table in EVENT_TABLES}
    return {
        "bytes": spool.bytes,
        "blocks": spool.blocks,
        "oldest_ns": spool.oldest_ns,
        "tables": {
            table: {"blocks": each.blocks, "bytes": each.bytes, "oldest_ns": each.oldest_ns}
            for table, each in tables.items()
            if each.blocks
        },
    }


def _line(kept: Quarantined) -> dict[str, object]:
    return {
        "token": kept.token,
        "table": kept.planned.table,
        "rows": kept.planned.rows,
        "bytes": kept.bytes,
        "kept_ns": kept.kept_ns,
        "reason": kept.reason,
    }


def _dropped_line(line: Dropped) -> dict[str, object]:
    return {
        "token": line.planned.token,
        "table": line.planned.table,
        "rows": line.planned.rows,
        "seq_first": line.planned.seq_first,
        "seq_last": line.planned.seq_last,
        **{name: getattr(line, name) for name in ("refused", "who", "when_ns", "reason")},
    }
