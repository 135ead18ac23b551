"""`tickd run`: record the venues of a config file until stopped."""

from __future__ import annotations

import faulthandler
import sys
from functools import partial
from pathlib import Path

from tickd.app.allocator import give_large_buffers_back
from tickd.app.commands.check import check_stages
from tickd.app.config import load_shard
from tickd.app.daemon import run_until_signalled
from tickd.app.event_loop import run as run_loop
from tickd.app.exit_codes import ExitCode
from tickd.app.flight import FlightKeeper
from tickd.app.halting import Halting
from tickd.app.logs import configure_logging
from tickd.clock import SystemClock
from tickd.telemetry.flight import FlightRing


def run(config: Path, *, shard: str | None = None) -> ExitCode:
    """Record the venues of a config file until stopped.

    INT or TERM drains and ends; a second one ends at once. HUP reads the file again: what is
    subscribed and the limits follow. USR1 halts all orders, until a person arms them again: tickd
    risk. USR2 writes the state into STATE_DIR/dumps. Exit codes: 0 clean, 1 drain timed out or
    failed, 2 bad config, 3 what was received could not be written any more.

    Args:
        config: the TOML file
        shard: i/n: only the i-th of n parts of all symbols, from 0; in place of plan.shard

    Examples:
        tickd run tickd.toml
        tickd run tickd.toml --shard 0/4

    """
    faulthandler.enable()  # a watchdog's SIGABRT, or a crash, leaves every thread's stack on stderr
    give_large_buffers_back()
    resolved = load_shard(config, shard)
    clock = SystemClock()
    ring = FlightRing(clock.wall_ns)
    configure_logging(resolved.log, ring)
    halting = Halting(resolved, clock)
    # If nothing is being cancelled soon after a kill, whoever hangs: from a process of its own.
    panic = [sys.executable, "-m", "tickd", "panic", "--cancel-all", str(config.absolute())]
    halting.stand(panic if resolved.accounts else ())
    check_stages()
    reread = partial(load_shard, config, shard)
    flight = FlightKeeper(ring, resolved.state_dir, mono_ns=clock.mono_ns)
    with flight.recording():
        return run_loop(run_until_signalled(resolved, reread, halting, flight))
