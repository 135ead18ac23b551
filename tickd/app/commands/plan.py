"""`tickd plan`: what a config file subscribes, connection by connection; connects to no stream."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter

from gateway.config import VenueConfig
from gateway.rest import RestClient
from gateway.status import Counters
from gateway.subscriptions.carried import Carried
from gateway.subscriptions.wishes import Listing, Wanted
from gateway.venue import Venue
from gateway.venues import registry
from tickd.app.config import Config, load_shard
from tickd.app.plan_screen import drawn, table
from tickd.app.planning import wanted_of
from tickd.app.terminal import console
from tickd.app.universes import Universes
from tickd.clock import SystemClock
from tickd.native import VENUES


def plan(
    config: Path,
    *,
    shard: str | None = None,
    symbols: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Show what a config file subscribes, connection by connection.

    Connects to no stream. Where patterns have to be matched, it asks the venue's REST side for its
    list. A plan that breaks a limit of the venue ends with code 2 and says what would be legal.

    Args:
        config: the TOML file
        shard: i/n, in place of plan.shard
        symbols: print the symbols that each venue lists, and nothing else
        as_json: print JSON

    Examples:
        tickd plan tickd.toml
        tickd plan tickd.toml --shard 0/4 --json | jq '.[].connections[].streams'
        tickd plan tickd.toml --symbols | grep USDT

    """
    plans: list[dict[str, Any]] = []
    loaded = load_shard(config, shard)
    for wanted in wanted_of(loaded, members_kept(loaded)):
        venue = registry.find_any(wanted.config.name, VENUES)
        carried = Carried(venue, wanted)
        listing = None
        if not isinstance(venue, Venue):  # its list needs a login: patterns wait for the daemon's
            if wanted.needs_listing or symbols:
                sys.stderr.write(f"{venue.name}: what patterns select, only a login can ask\n")
            if symbols:
                continue
        elif symbols or wanted.needs_listing:
            listing = asyncio.run(listing_of(venue, wanted.config))
        if symbols and listing is not None:
            sys.stdout.writelines(f"{venue.name}:{each}\n" for each in sorted(listing.trading))
            continue
        # Without a list every named symbol is taken to exist, as `tickd run` does at first.
        carried.listed(listing, "plan", strict=True)
        plans.append(drawn(carried, _empty_universes(wanted)))
    if as_json:
        sys.stdout.write(orjson.dumps(plans, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif not loaded.venues:
        sys.stdout.write("nothing to record: no [[venues]]\n")
    elif not symbols:
        console().print(*map(table, plans))
    return 0


def _empty_universes(wanted: Wanted) -> list[str]:
    """What patterns do not select yet: who is in a universe, only a running daemon asks."""
    return [
        f"pattern {pattern} selects nothing before a daemon has asked who is in"
        for pattern in wanted.patterns
        if pattern.universe is not None and not wanted.universes.get(pattern.universe)
    ]


def members_kept(config: Config) -> dict[str, tuple[str, ...]]:
    """The members of universes as a daemon with this state directory took them last."""
    kept = Universes(
        config.universes,
        directory=config.state_dir / "universes",
        record=lambda _: None,
        clock=SystemClock(),
    )
    return kept.members


async def listing_of(venue: Venue, config: VenueConfig) -> Listing:
    """What the venue lists now. Raises RestFailedError, RestRefusedError, MalformedReplyError."""
    client = RestClient(
        venue,
        config.rest_url or venue.wire.rest_url,
        timeout_seconds=config.rest_timeout_seconds,
        clock=SystemClock(),
        counters=Counters(),
    )
    async with client:
        found = [
            definition
            for request in venue.wire.listing_requests()
            for definition in venue.wire.instruments(await client.get(request))
        ]
    return Listing(
        frozenset(each.symbol for each in found),
        frozenset(each.symbol for each in found if each.trading),
    )
