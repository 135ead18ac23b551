"""What a session says about itself: counters that only grow, and a picture of the moment.

Plain values; the composition root turns them into metrics and pages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

LineState = Literal["waiting", "connecting", "streaming", "replacing"]


@dataclass(slots=True)
class Counters:
    """Totals since the session began; metric `tickd_gateway_<name>_total{venue}`."""

    connects: int = 0
    connect_failures: int = 0
    disconnects: int = 0  # every end of a connection, replacements included
    replacements: int = 0  # make-before-break hand-overs completed
    handovers_incomplete: int = 0  # ended by the bound with streams still owed
    shutdown_notices: int = 0
    silences: int = 0  # connections replaced because streams or heartbeats fell silent
    subscribe_refusals: int = 0
    subscribe_timeouts: int = 0
    snapshots_wanted: int = 0
    snapshots_fetched: int = 0
    snapshot_failures: int = 0
    sheds: int = 0  # channels given up for lack of room
    plan_changes: int = 0  # streams added or removed, rotations included
    throttles: int = 0  # priorities paused or resumed
    resubscribes: int = 0  # books renewed by messages on the connection
    instruments_recorded: int = 0
    instrument_failures: int = 0
    rest_requests: int = 0
    rest_throttled: int = 0  # 429 and 418
    pauses: int = 0  # sockets the raw log did not read for a while
    paused_ns: int = 0
    fragments: int = 0
    binary_messages: int = 0
    logins: int = 0  # at a broker, through its SDK
    login_failures: int = 0
    queries: int = 0  # of past ticks and scanners, which take of the allowance
    flaps: int = 0  # sessions that came and went too often: a pause before the next login
    callbacks: int = 0
    callback_bursts: int = 0  # drains that found something
    callbacks_dropped: int = 0  # let go by a full queue; each run of them is a gap
    callbacks_unreadable: int = 0
    streams_renewed: int = 0  # subscribed again after a reconnect, or for their silence
    # Disconnects by cause, a word of `end_cause`; metric `tickd_gateway_ends_total{venue,cause}`.
    ends: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class LineTotals:
    """Of one planned connection, over all connections or logins that it has been."""

    tries: int = 0  # to connect or log in
    received: int = 0  # bytes, on those that ended; of a login, all
    last_end: str | None = None
    ends: dict[str, int] = field(default_factory=dict)  # as in `Counters`

    def ended(self, reason: str, received: int = 0) -> None:
        """Count an end, and the bytes that came before it."""
        self.last_end = reason
        self.received += received
        count_end(self.ends, reason)


def count_end(ends: dict[str, int], reason: str) -> None:
    """Count an end by its cause."""
    cause = end_cause(reason)
    ends[cause] = ends.get(cause, 0) + 1


def end_cause(reason: str) -> str:
    """One of few words for why a connection ended, for a metric's label."""
    for start, word in _CAUSES:
        if reason.startswith(start):
            return word
    return "failed"


# What a leg's `ended` begins with; a replacement's own cause stands behind its number.
_CAUSES: Final = (
    ("replaced by", "replaced"),
    ("venue closed", "venue"),
    ("connection lost", "lost"),
    ("session event", "lost"),
    ("protocol violation", "protocol"),
    ("no streams", "plan"),
    ("session stopped", "stop"),
)


class LineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One planned connection."""

    number: int = 1
    endpoint: str
    url: str
    streams_count: int
    state: LineState
    connections: tuple[int, ...]  # node-wide numbers; two during a replacement
    opened_mono_ns: int | None
    paused: bool
    attempts: int  # failures since the last stable connection
    tries: int = 0  # to connect or log in, since the start
    messages_used: int = 0  # of ours in the venue's window that ends now
    messages_max: int = 0
    bytes_received: int = 0  # over all connections of the line; of a login: as recorded
    last_end: str | None = None  # why its last connection ended
    ends: dict[str, int] = msgspec.field(default_factory=dict)  # by cause
    fault: str | None  # last failure, None once streaming
    refused: tuple[str, ...]  # the venue's words on declined subscriptions


class SdkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One login at a broker."""

    queue_depth: int  # callbacks that wait for the loop
    queue_age_ns: int  # of the one that waits longest
    logins_left: int  # of the day that ends now
    streams_confirmed: int
    usage_bytes: int | None  # None: not asked yet
    usage_bytes_left: int | None
    usage_cap_bytes: int | None = None  # what may be used at most
    usage_remaining_bytes: int | None = None  # below the cap, what came unseen since included
    usage_forecast_bytes: int | None = None  # at the reset, if it goes on like this
    usage_batch_bytes: int | None = None  # what the queries between two readings may cost
    usage_queries_left: int | None = None  # of those before the next reading
    usage_stopped: bool = False  # nothing that costs bytes until the reset
    usage_connections: int | None  # of the person, other programs included
    closed_markets: tuple[str, ...]  # of those with streams, at this moment


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One venue."""

    venue: str
    rule: str
    started: bool = True  # the first plan has been made
    symbols_count: int  # planned
    symbols_missing: tuple[str, ...]  # configured but not listed by the venue
    instruments_count: int
    snapshots_pending: tuple[str, ...]
    rest_weight_used: int  # in the venue's window that ends now
    rest_weight_max: int = 0
    connects_used: int = 0  # attempts in the venue's window that ends now
    connects_max: int = 0
    shed: tuple[str, ...]  # channels given up for now
    shard: str = "0/1"
    streams_count: int = 0  # planned
    streams_paused: int = 0  # of them, by priority
    streams_left_out: int = 0  # for lack of room
    paused_below: int | None = None  # this priority
    stopped: bool = False  # everything is paused
    # group -> symbols whose turn it is
    turning: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    refusal: str | None = None  # why less is planned than wanted
    lines: tuple[LineStatus, ...]
    sdk: SdkStatus | None = None
