"""Traces as values: what is known of one batch, and the spans that come of it.

Made after the fact from monotonic stamps; nothing here takes time or knows OpenTelemetry. Span
names and attributes follow its messaging conventions ("operation destination").
Source: OpenTelemetry semantic conventions for messaging, 1.40 (status: development).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from tickd.telemetry.trace_ids import BLOCKS, batch_trace, span_of
from tickd.topics import CHANNEL_TABLES

__all__ = [
    "Action",
    "BatchStamps",
    "BlockStamps",
    "Known",
    "OrderStamps",
    "Ran",
    "Span",
    "Trace",
    "Why",
    "block_trace",
    "tables_of",
    "trace_of",
]

Why = Literal["ratio", "slow", "order"]
Action = Literal["new", "cancel", "replace"]
Kind = Literal["internal", "client", "producer", "consumer"]
Value = str | int | float | bool

LINKS_MAX: Final = 128  # OpenTelemetry's own limit per span
FEED: Final = "market-data"


class Ran(NamedTuple):
    """Callbacks of a group of strategies over events of a batch; `lane`: in the loop, or not."""

    group: str
    began_ns: int
    ended_ns: int
    events: int
    seq_last: int
    lane: Literal["inproc", "process"]


class BatchStamps(NamedTuple):
    """What is noted of every batch while tracing is on; ns, monotonic."""

    seq_last: int
    seq_first: int
    frame_last: int
    events: int
    recv_ns: int
    decode_ns: int
    decoded_ns: int
    published_ns: int
    topics: Sequence[tuple[int, int, int]]
    inside: tuple[Ran, ...]
    """What ran within the publishing: strategies in the loop."""


class BlockStamps(NamedTuple):
    """An insert that ClickHouse has acknowledged."""

    table: str
    seq_first: int
    seq_last: int
    rows: int
    put_ns: int
    sent_ns: int
    acked_ns: int


class OrderStamps(msgspec.Struct, kw_only=True):
    """An order on its way out, or a change of one; 0: it did not get so far."""

    client_id: int
    seq: int
    strategy: str
    action: Action = "new"
    asked_ns: int
    decided_ns: int = 0
    verdict: str = ""
    reason: str = ""
    venue: str = ""
    number: int = 0
    send_ns: int = 0
    sent_ns: int = 0


class Known(NamedTuple):
    """Everything that is known of a batch when its trace is made; 0: not known."""

    batch: BatchStamps
    why: Why
    topics: tuple[str, ...]
    written_ns: int
    synced_ns: int
    blocks: tuple[BlockStamps, ...]
    ran: tuple[Ran, ...]
    orders: tuple[OrderStamps, ...]
    is_whole: bool
    """Whether nothing more was waited for."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work; `parent_id` 0: the root. Links are (trace, span)."""

    name: str
    kind: Kind
    span_id: int
    parent_id: int
    began_ns: int
    ended_ns: int
    attributes: dict[str, Value]
    links: tuple[tuple[int, int], ...] = ()


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one batch or one block, the root first.

    latency_ns: from the socket to the bus, or to the end of the slowest strategy's callbacks.
    """

    trace_id: int
    why: str
    frame_last: int
    events: int
    latency_ns: int
    spans: tuple[Span, ...]


def tables_of(topics: Iterable[str]) -> frozenset[str]:
    """Return the tables that events of these topics go to."""
    channels = {topic.partition(".")[0] for topic in topics}
    return frozenset(CHANNEL_TABLES[channel] for channel in channels if channel in CHANNEL_TABLES)


class _Tree:
    """Spans of one trace while they are put together."""

    def __init__(self, trace_id: int) -> None:
        self.trace_id: Final = trace_id
        self.spans: list[Span] = []
        self._names: dict[str, int] = {}

    def add(
        self,
        name: str,
        times_ns: tuple[int, int],
        *,
        parent: Span | int,
        kind: Kind = "internal",
        operation: tuple[str, str] | None = None,
        links: tuple[tuple[int, int], ...] = (),
        attributes: dict[str, Value] | None = None,
    ) -> Span:
        """Add a span; `operation`: name and type by the conventions, None for what is none."""
        again = self._names[name] = self._names.get(name, 0) + 1
        said: dict[str, Value] = {"messaging.system": "tickd"}
        if operation is not None:
            said["messaging.operation.name"], kind_of = operation
            if kind_of:
                said["messaging.operation.type"] = kind_of
            said["messaging.destination.name"] = name.partition(" ")[2]
        span = Span(
            name=name,
            kind=kind,
            span_id=span_of(self.trace_id, name if again == 1 else f"{name} #{again}"),
            parent_id=parent if isinstance(parent, int) else parent.span_id,
            began_ns=times_ns[0],
            ended_ns=max(times_ns),
            attributes={**said, **(attributes or {})},
            links=links,
        )
        self.spans.append(span)
        return span


def trace_of(node: int, known: Known) -> Trace:
    """Return the trace of a batch: one root, a span for each stage that it has reached."""
    batch = known.batch
    tree = _Tree(batch_trace(node, batch.frame_last))
    recv_ns = batch.recv_ns or batch.decode_ns
    root = span_of(tree.trace_id, f"process {FEED}")
    count: dict[str, Value] = {"messaging.batch.message_count": batch.events}
    receiving = ("receive", "receive")
    tree.add(
        f"receive {FEED}",
        (recv_ns, batch.decode_ns),
        parent=root,
        kind="client",
        operation=receiving,
        attributes=count,
    )
    tree.add(
        f"decode {FEED}",
        (batch.decode_ns, batch.decoded_ns),
        parent=root,
        operation=("decode", "process"),
        attributes=count,
    )
    publishing = tree.add(
        f"publish {FEED}",
        (batch.decoded_ns, batch.published_ns),
        parent=root,
        kind="producer",
        operation=("publish", "send"),
        attributes=count,
    )
    _add_strategies(tree, known, publishing, root)
    _add_recorder(tree, node, known, root)
    ended_ns = max(span.ended_ns for span in tree.spans)
    _add_root(tree, node, known, (recv_ns, ended_ns))
    work = [each.ended_ns for each in known.ran] + [batch.published_ns]
    return Trace(
        trace_id=tree.trace_id,
        why=known.why,
        frame_last=batch.frame_last,
        events=batch.events,
        latency_ns=max(work) - recv_ns,
        spans=(tree.spans[-1], *tree.spans[:-1]),
    )


def _add_root(tree: _Tree, node: int, known: Known, times_ns: tuple[int, int]) -> None:
    batch = known.batch
    about: dict[str, Value] = {
        "messaging.batch.message_count": batch.events,
        "tickd.node": node,
        "tickd.frame_last": batch.frame_last,
        "tickd.seq_first": str(batch.seq_first),  # u64: an attribute holds 63 bits
        "tickd.seq_last": str(batch.seq_last),
        "tickd.traced_for": known.why,
        "tickd.whole": known.is_whole,
        "tickd.venues": ",".join(sorted({each.split(".")[1] for each in known.topics})),
        "tickd.channels": ",".join(sorted({each.split(".")[0] for each in known.topics})),
    }
    operation = ("process", "process")
    name = f"process {FEED}"
    tree.add(name, times_ns, parent=0, kind="consumer", operation=operation, attributes=about)


def _add_recorder(tree: _Tree, node: int, known: Known, root: int) -> None:
    """Raw log and ClickHouse: what a batch waited for there, beside what strategies did."""
    batch = known.batch
    if known.written_ns:
        times_ns = (batch.decoded_ns, known.written_ns)
        tree.add("write raw-log", times_ns, parent=root, operation=("write", "process"))
    if known.synced_ns:
        times_ns = (known.written_ns or batch.decoded_ns, known.synced_ns)
        tree.add("sync raw-log", times_ns, parent=root, operation=("sync", "settle"))
    for block in known.blocks:
        trace_id = batch_trace(node + BLOCKS, block.seq_first)
        # Which of the two came first is the block's to say: it holds what came in a second.
        tree.add(
            f"store {block.table}",
            (batch.published_ns, block.acked_ns),
            parent=root,
            kind="producer",
            operation=("store", "send"),
            links=((trace_id, span_of(trace_id, f"insert {block.table}")),),
            attributes={"db.system.name": "clickhouse", "db.collection.name": block.table},
        )


def _add_strategies(tree: _Tree, known: Known, publishing: Span, root: int) -> None:
    handlers = [
        tree.add(
            f"process strategy.{each.group}",
            (each.began_ns, each.ended_ns),
            parent=publishing,
            kind="consumer",
            operation=("process", "process"),
            attributes={
                "messaging.batch.message_count": each.events,
                "tickd.isolation": each.lane,
            },
        )
        for each in known.ran
    ]
    here = ((tree.trace_id, root),)
    for order in known.orders:
        # The first portion that goes as far as the event; of its own group, where that has its
        # name (strategies may share a group).
        places = [
            (each.group != order.strategy, each.seq_last, place)
            for place, each in enumerate(known.ran)
            if order.seq >> 16 <= each.seq_last >> 16
        ]
        parent = handlers[min(places)[2]] if places else publishing
        _add_order(tree, order, parent, here)


def _add_order(
    tree: _Tree, order: OrderStamps, parent: Span, links: tuple[tuple[int, int], ...]
) -> None:
    if not order.decided_ns:
        return
    about: dict[str, Value] = {
        "tickd.strategy": order.strategy,
        "tickd.action": order.action,
        "tickd.client_id": order.client_id,
        "tickd.order": order.number,
    }
    deciding = tree.add(
        "decide gate",
        (order.asked_ns, order.decided_ns),
        parent=parent,
        operation=("decide", "process"),
        links=links,
        attributes={**about, "tickd.verdict": order.verdict, "tickd.reason": order.reason},
    )
    if order.sent_ns:
        operation = "send" if order.action == "new" else order.action
        tree.add(
            f"{operation} {order.venue}",
            (order.send_ns, order.sent_ns),
            parent=deciding,
            kind="producer",
            operation=(operation, "send"),
            links=links,
            attributes=about,
        )


def block_trace(node: int, block: BlockStamps, batches: Sequence[int]) -> Trace:
    """Return the trace of an insert, linked to the traced batches that it holds.

    Args: `batches`: last frames of the batches.
    """
    tree = _Tree(batch_trace(node + BLOCKS, block.seq_first))
    links = []
    for frame_last in batches[:LINKS_MAX]:
        trace_id = batch_trace(node, frame_last)
        links.append((trace_id, span_of(trace_id, f"process {FEED}")))
    root = tree.add(
        f"insert {block.table}",
        (block.put_ns, block.acked_ns),
        parent=0,
        kind="client",
        operation=("insert", "send"),
        links=tuple(links),
        attributes={
            "messaging.batch.message_count": block.rows,
            "db.system.name": "clickhouse",
            "db.collection.name": block.table,
            "tickd.node": node,
            "tickd.seq_first": str(block.seq_first),
            "tickd.seq_last": str(block.seq_last),
            "tickd.links_left_out": max(0, len(batches) - LINKS_MAX),
        },
    )
    tree.add(f"wait {block.table}", (block.put_ns, block.sent_ns), parent=root)
    tree.add(f"request {block.table}", (block.sent_ns, block.acked_ns), parent=root, kind="client")
    return Trace(
        trace_id=tree.trace_id,
        why="block",
        frame_last=block.seq_last >> 16,
        events=block.rows,
        latency_ns=block.acked_ns - block.put_ns,
        spans=tuple(tree.spans),
    )
