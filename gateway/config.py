"""The gateway's part of the configuration: venues, groups of subscriptions, the plan's bounds.

Checks relations between fields; reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.subscriptions.patterns import parse
from gateway.subscriptions.shard import Shard
from tickd.secrets import Secret

# A turn costs two messages and, for depth, a snapshot of each symbol.
ROTATION_SECONDS_MIN = 1.0
# What waits longer is late for nothing that it saves.
GATHER_MS_MAX = 100.0
UNIVERSE_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)  # also of its cache file
UNIVERSE_COUNT_MAX = 10_000
LOOKBACK_HOURS_MAX = 31 * 24
# Scanners are dear (weight 40 at Binance), and every change of members costs subscriptions.
REFRESH_SECONDS_MIN = 60.0


class SdkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a venue that is reached through its broker's SDK: who logs in, and within what bounds."""

    api_key: Secret | None = None
    secret_key: Secret | None = None
    simulation: bool = False  # the broker's test environment
    client: Literal["sync", "async"] = "sync"  # which of the SDK's clients
    queue_records_max: int = 32_768  # callbacks that may wait for the loop
    gather_ms: float = 1.0  # after a wake-up, callbacks of so long are taken together
    call_timeout_seconds: float = 30.0  # of a login, a subscription or a query
    logins_per_day_max: int = 100
    down_seconds_max: float = 60.0  # for the SDK's own reconnecting, before a new login
    flaps_max: int = 5  # ends of the session within ...
    flap_window_seconds: float = 300.0  # ... so long, after which there is a pause ...
    flap_pause_seconds: float = 120.0  # ... of so long before the next login
    verify_seconds: float = 15.0  # of silence after a reconnect, then a stream is subscribed again
    usage_interval_seconds: float = 60.0
    usage_cap_share: float = 0.95  # of the venue's limit; everything stops before
    # What gives way when the allowance runs short. A stream that is paused for nothing comes back;
    # an allowance that is used up does not.
    usage_pauses: Literal["streams", "queries"] = "streams"
    usage_step_seconds: float = 60.0  # between two priorities that are paused for it
    usage_hold_seconds: float = 600.0  # of calm before each comes back

    def __post_init__(self) -> None:
        for field in (
            "queue_records_max",
            "logins_per_day_max",
            "flaps_max",
            "call_timeout_seconds",
            "flap_window_seconds",
            "verify_seconds",
            "usage_interval_seconds",
            "usage_step_seconds",
            "usage_hold_seconds",
        ):
            if getattr(self, field) <= 0:
                raise ValueError(f"sdk.{field} must be positive")
        if not 0 < self.usage_cap_share <= 1:
            raise ValueError("sdk.usage_cap_share must be in (0, 1]")
        if not 0 <= self.gather_ms <= GATHER_MS_MAX:
            raise ValueError(f"sdk.gather_ms must be between 0 and {GATHER_MS_MAX}")


class FillConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How what is missing is asked for again (docs/adr/0024-gap-filler.md)."""

    enabled: bool = True
    api_key: Secret | None = None  # where the venue wants to know who asks for past trades
    settle_seconds: float = 5.0  # late live messages may come by themselves first
    weight_share: float = 0.25  # of the venue's allowance, at most
    tries_max: int = 3  # rounds without any success before a gap is given up
    retry_seconds: float = 30.0  # between two rounds; doubles
    slo_seconds: float = 60.0  # from the gap to its end: what takes longer is counted

    def __post_init__(self) -> None:
        if not 0 < self.weight_share <= 1:
            raise ValueError("fill.weight_share must be in (0, 1]")
        if self.tries_max < 1:
            raise ValueError("fill.tries_max must be at least 1")
        for field in ("settle_seconds", "retry_seconds", "slo_seconds"):
            if getattr(self, field) < 0:
                raise ValueError(f"fill.{field} must not be negative")


class VenueConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to record at one venue, and the bounds of its session."""

    name: str
    symbols: tuple[str, ...] = ()  # the venue's own symbols; patterns may add to them
    channels: tuple[str, ...] = ("trade", "quote", "depth")
    priority: int = 100  # of `symbols`
    ws_url: str | None = None  # scheme://host[:port], replaces the venue's own
    rest_url: str | None = None  # scheme://host[:port], replaces the venue's own
    depth_interval_ms: int | None = None  # None: the venue's recommended interval
    streams_per_connection: int = 200  # never above the venue's limit
    connections_max: int | None = None  # open at once, one for replacements included
    # channel -> seconds of silence before a stream's connection is replaced; 0: never
    silence_seconds: Mapping[str, float] = msgspec.field(default_factory=dict)
    connect_timeout_seconds: float = 10.0
    subscribe_timeout_seconds: float = 10.0
    rest_timeout_seconds: float = 10.0
    backoff_first_seconds: float = 0.5
    backoff_cap_seconds: float = 60.0
    stable_seconds: float = 60.0  # a connection that lived so long resets the backoff
    # None: the venue's lifetime less `rotation_margin_seconds`; jitter takes up to a tenth off
    rotation_seconds: float | None = None
    rotation_margin_seconds: float = 600.0
    # streams with a message so recently are awaited on the new connection
    handover_recent_seconds: float = 10.0
    # both connections run on for so long after that, so that the old one may catch up
    handover_overlap_seconds: float = 2.0
    handover_max_seconds: float = 30.0
    watchdog_interval_seconds: float = 1.0
    instruments_wait_seconds: float = 15.0  # streams start without definitions after this
    instruments_refresh_seconds: float = 86_400.0
    snapshot_retry_seconds: float = 1.0  # least time between two snapshots of one symbol
    fill: FillConfig = FillConfig()
    sdk: SdkConfig = SdkConfig()  # of venues behind a broker's SDK only

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError(f"venue {self.name}: no channels")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"venue {self.name}: a symbol is listed twice")
        if self.streams_per_connection < 1:
            raise ValueError(f"venue {self.name}: streams_per_connection must be at least 1")
        if self.connections_max is not None and self.connections_max < 2:
            raise ValueError(
                f"venue {self.name}: connections_max must be at least 2, one is for replacements"
            )
        if not 0 < self.backoff_first_seconds <= self.backoff_cap_seconds:
            raise ValueError(
                f"venue {self.name}: backoff_first_seconds must be in (0, backoff_cap_seconds]"
            )
        if self.handover_overlap_seconds > self.handover_max_seconds:
            raise ValueError(
                f"venue {self.name}: handover_overlap_seconds exceeds handover_max_seconds"
            )
        for field in ("ws_url", "rest_url"):
            url = getattr(self, field)
            if url is not None and (url.count("/") != 2 or "://" not in url):
                raise ValueError(f"venue {self.name}: {field} must be scheme://host[:port]")


class SubscriptionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of subscriptions: what its patterns select has one priority.

    With `rotation_seconds` its symbols take turns, `rotation_symbols` of a venue at a time.
    """

    name: str
    patterns: tuple[str, ...]  # venue:symbol@channel
    priority: int = 100  # what is lower is paused first
    rotation_seconds: float | None = None  # None: everything all the time
    rotation_symbols: int = 20  # at the same time, of each venue

    def __post_init__(self) -> None:
        if not self.name or not self.patterns:
            raise ValueError(f"subscriptions {self.name!r}: name and patterns are needed")
        parsed = [parse(text) for text in self.patterns]
        if all(pattern.excludes for pattern in parsed):
            raise ValueError(f"subscriptions {self.name}: only exclusions, nothing to exclude from")
        if self.rotation_seconds is not None and self.rotation_seconds < ROTATION_SECONDS_MIN:
            raise ValueError(
                f"subscriptions {self.name}: rotation_seconds must be at least"
                f" {ROTATION_SECONDS_MIN}"
            )
        if self.rotation_symbols < 1:
            raise ValueError(f"subscriptions {self.name}: rotation_symbols must be at least 1")


class UniverseConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The best names of a venue by some figure; patterns write it as `venue:{name}@channel`."""

    name: str
    venue: str
    count: int  # names that are in
    source: Literal["venue", "clickhouse"] = "venue"  # its scanner, or our own tables
    rank: Literal["volume", "turnover", "volatility", "trades"] = "turnover"
    symbols: tuple[str, ...] = ("*",)  # globs: who may be in
    keep: int = 0  # a member stays while it is among the first count + keep
    lookback_hours: int = 24  # of our own tables
    refresh_seconds: float = 3_600.0  # how long a snapshot is good
    stale_seconds: float = 86_400.0  # how long an old one stands in at the start

    def __post_init__(self) -> None:
        if not UNIVERSE_NAME.fullmatch(self.name):
            raise ValueError(f"universe {self.name!r}: a name has letters, digits, - and _ only")
        if not 1 <= self.count <= UNIVERSE_COUNT_MAX:
            raise ValueError(f"universe {self.name}: count must be 1 to {UNIVERSE_COUNT_MAX}")
        if self.keep < 0 or not self.symbols:
            raise ValueError(f"universe {self.name}: keep must not be negative, symbols not empty")
        if not 1 <= self.lookback_hours <= LOOKBACK_HOURS_MAX:
            raise ValueError(
                f"universe {self.name}: lookback_hours must be 1 to {LOOKBACK_HOURS_MAX}"
            )
        if not REFRESH_SECONDS_MIN <= self.refresh_seconds <= self.stale_seconds:
            raise ValueError(
                f"universe {self.name}: refresh_seconds must be at least {REFRESH_SECONDS_MIN} and"
                " at most stale_seconds"
            )


class PlanConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of everything is this daemon's, and when it does with less."""

    shard: str = "0/1"  # i/n
    lag_pause_ms: int = 2_000  # a consumer that far behind: low priorities are paused
    lag_resume_ms: int = 500  # behind by less: they come back
    step_seconds: float = 5.0  # between two pauses
    hold_seconds: float = 30.0  # of calm before each comes back

    def __post_init__(self) -> None:
        Shard.parse(self.shard)
        if not 0 <= self.lag_resume_ms < self.lag_pause_ms:
            raise ValueError("plan: lag_resume_ms must be in [0, lag_pause_ms)")
        if self.step_seconds <= 0 or self.hold_seconds <= 0:
            raise ValueError("plan: step_seconds and hold_seconds must be positive")
