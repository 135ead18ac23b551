"""The venues of the gateway: one line each; a name finds its folder.

Joins the files of a venue's folder to a `Venue` or a `CallbackVenue`; knows nothing else about any
of them.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Final

from gateway.callbacks.venue import CallbackVenue
from gateway.errors import UnknownVenueError
from gateway.venue import Venue

SOCKET_VENUE_NAMES: Final[tuple[str, ...]] = (
    "binance-spot",
    "binance-usdm",
    "binance-coinm",
    "okx",
)
# Behind a broker's SDK that calls us on its own threads.
CALLBACK_VENUE_NAMES: Final[tuple[str, ...]] = ("shioaji",)
VENUE_NAMES: Final = SOCKET_VENUE_NAMES + CALLBACK_VENUE_NAMES


def is_callback(name: str) -> bool:
    """Whether `name` is a venue behind an SDK: `find_callback` has it, `find` has the others."""
    return name in CALLBACK_VENUE_NAMES


def find(name: str, decoded: Collection[str] = VENUE_NAMES) -> Venue:
    """The WebSocket venue called `name`; `decoded`: those that the native core reads.

    Raises UnknownVenueError.
    """
    folder = _folder(name, SOCKET_VENUE_NAMES, decoded)
    return Venue(
        name=name,
        wire=import_module(f"{folder}.wire").WIRE,
        sync=import_module(f"{folder}.sync").SYNC,
        limits=import_module(f"{folder}.limits").LIMITS,
        history=import_module(f"{folder}.history").HISTORY,
    )


def find_callback(name: str, decoded: Collection[str] = VENUE_NAMES) -> CallbackVenue:
    """The callback venue called `name`, as `find`. Does not import the SDK."""
    folder = _folder(name, CALLBACK_VENUE_NAMES, decoded)
    return CallbackVenue(
        name=name,
        package=import_module(f"{folder}.sdk").PACKAGE,
        wire=import_module(f"{folder}.wire").WIRE,
        limits=import_module(f"{folder}.limits").LIMITS,
        rests=import_module(f"{folder}.limits").RESTS,
        client=import_module(f"{folder}.sdk").client,
        open_since=import_module(f"{folder}.hours").open_since,
        history=import_module(f"{folder}.past").HISTORY,
        usage_reset=import_module(f"{folder}.hours").usage_reset,
    )


def find_any(name: str, decoded: Collection[str] = VENUE_NAMES) -> Venue | CallbackVenue:
    """The venue called `name`, of whatever kind. Raises UnknownVenueError."""
    return find_callback(name, decoded) if is_callback(name) else find(name, decoded)


def _folder(name: str, among: Collection[str], decoded: Collection[str]) -> str:
    if name not in among:
        raise UnknownVenueError(
            f"venue {name[:40]!r} is not known", hint=f"known: {', '.join(VENUE_NAMES)}"
        )
    if name not in decoded:
        raise UnknownVenueError(
            f"venue {name} has no decoder in this build",
            hint="its line in native/core/src/decode/venues.rs, then build the native core again",
        )
    return f"gateway.venues.{name.replace('-', '_')}"
