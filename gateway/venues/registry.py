"""The venues of the gateway: one line each; a name finds its folder.

Joins the three files of a venue's folder to a `Venue`; knows nothing else about any of them.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Final

from gateway.errors import UnknownVenueError
from gateway.venue import Venue

VENUE_NAMES: Final[tuple[str, ...]] = (
    "binance-spot",
    "binance-usdm",
    "binance-coinm",
    "okx",
)


def find(name: str, decoded: Collection[str] = VENUE_NAMES) -> Venue:
    """The venue called `name`; `decoded`: those that the native core reads.

    Raises UnknownVenueError.
    """
    if name not in VENUE_NAMES:
        raise UnknownVenueError(
            f"venue {name[:40]!r} is not known", hint=f"known: {', '.join(VENUE_NAMES)}"
        )
    if name not in decoded:
        raise UnknownVenueError(
            f"venue {name} has no decoder in this build",
            hint="its line in native/core/src/decode/venues.rs, then build the native core again",
        )
    folder = f"gateway.venues.{name.replace('-', '_')}"
    return Venue(
        name=name,
        wire=import_module(f"{folder}.wire").WIRE,
        sync=import_module(f"{folder}.sync").SYNC,
        limits=import_module(f"{folder}.limits").LIMITS,
    )
