"""`tickd top`: watch a running daemon, over its control socket."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tickd.app.asking import state_dir_of
from tickd.app.control import ask
from tickd.app.exit_codes import ExitCode
from tickd.app.terminal import console
from tickd.app.top import ROWS_MAX, SORTS
from tickd.app.top_keys import View, Wish, keys_of, press
from tickd.app.top_screen import draw, topics_of
from tickd.errors import ConfigError, TickdError

# A drawn page costs a dozen ms, here and not in the daemon.
REDRAW_S = 0.25
RATE_S = 1.0


def top(
    config: Path,
    *,
    once: Annotated[bool, Parameter(negative=())] = False,
    sort: str = SORTS[0],
    filter_: Annotated[str, Parameter(name="--filter")] = "",
    interval: float = 1.0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Watch a running daemon: topics by rate, lag or silence, gaps, strategies, risk.

    Keys: s sorts by the next column, / filters, p pauses, Enter shows a topic's queues and gaps,
    g gaps, t strategies, r risk, k halts all orders after you typed the word, h explains, q leaves.
    What is not a terminal gets one page.

    Args:
        config: the daemon's config file, or its state directory
        once: print one page and end
        sort: rate, events, lag, depth, dropped, silent, p99 or topic
        filter_: only topics with this text in their names
        interval: seconds between two questions to the daemon, at least 0.25
        as_json: print the daemon's answer as JSON, once

    Examples:
        tickd top tickd.toml
        tickd top /var/lib/tickd --sort lag
        tickd top tickd.toml --once | head -20

    """
    if sort not in SORTS:
        raise ConfigError(f"no such order: {sort}", hint=f"one of: {', '.join(SORTS)}")
    state_dir = state_dir_of(config)
    view = View(sort=sort, filter=filter_)
    if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        answer = asyncio.run(_twice(state_dir, view))
        if as_json:
            sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n")
        else:
            console().print(draw(view, answer, lines=0))
        return ExitCode.OK
    asyncio.run(_Watching(state_dir, view, max(interval, REDRAW_S)).run())
    return ExitCode.OK


async def _asked(state_dir: Path, view: View, rows: int = ROWS_MAX) -> dict[str, Any]:
    page = "topics" if view.page == "help" else view.page
    answer: Any = await ask(
        state_dir,
        "top",
        page=page,
        sort=view.sort,
        filter=view.filter,
        topic=view.topic,
        rows=rows,
    )
    return dict(answer)


async def _twice(state_dir: Path, view: View) -> dict[str, Any]:
    """Rates need two readings; somebody else who watches may have made the first."""
    answer = await _asked(state_dir, view)
    if not answer["rates_known"]:
        await asyncio.sleep(RATE_S + 0.05)
        answer = await _asked(state_dir, view)
    return answer


class _Watching:
    """One terminal that watches one daemon, until `q`."""

    def __init__(self, state_dir: Path, view: View, interval_s: float) -> None:
        self._state_dir = state_dir
        self._view = view
        self._interval_s = interval_s
        self._answer: dict[str, Any] | None = None
        self._fault = ""
        self._pressed = asyncio.Event()
        self._keys: list[str] = []

    async def run(self) -> None:
        """Ask, draw, obey keys. A daemon that goes away is waited for."""
        screen = Console()
        loop = asyncio.get_running_loop()
        descriptor = sys.stdin.fileno()
        with (
            _keys_at_once(descriptor),
            Live(console=screen, screen=True, auto_refresh=False) as live,
        ):
            loop.add_reader(descriptor, self._read, descriptor)
            try:
                await self._watch(live, screen)
            finally:
                loop.remove_reader(descriptor)

    def _read(self, descriptor: int) -> None:
        data = os.read(descriptor, 1024)
        self._keys += keys_of(data) if data else ["interrupt"]  # the terminal has gone
        self._pressed.set()

    async def _watch(self, live: Live, screen: Console) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due:
                due = loop.time() + self._interval_s
                if not self._view.paused or self._answer is None:
                    await self._ask()
            live.update(self._drawn(screen), refresh=True)
            await asyncio.sleep(REDRAW_S)
            try:
                async with asyncio.timeout(max(0.0, due - loop.time())):
                    await self._pressed.wait()
            except TimeoutError:
                continue
            asks = self._view
            if await self._obey():
                return
            if replace(asks, selected=0, typed="", typing="", said="") != replace(
                self._view, selected=0, typed="", typing="", said=""
            ):
                due = loop.time()

    async def _obey(self) -> bool:
        """Take the keys that were pressed; True when that was the last one."""
        keys, self._keys = self._keys, []
        self._pressed.clear()
        for key in keys:
            self._view, wish = press(self._view, key, topics_of(self._answer or {}))
            if wish is not None and await self._fulfil(wish):
                return True
        return False

    async def _fulfil(self, wish: Wish) -> bool:
        if wish == "quit":
            return True
        reason = "tickd top"
        try:
            await ask(self._state_dir, "risk_kill", reason=reason, operator=getpass.getuser())
            said = "all orders are halted; to arm again: tickd risk arm"
        except TickdError as error:
            said = f"NOT halted: {error}; kill -USR1 PID halts a daemon that does not answer"
        self._view = replace(self._view, said=said)
        return False

    async def _ask(self) -> None:
        try:
            self._answer = await _asked(self._state_dir, self._view)
            self._fault = ""
        except TickdError as error:
            self._fault = str(error)

    def _drawn(self, screen: Console) -> Any:
        if self._fault or self._answer is None:
            return Text(f"{self._fault}\nwaiting for it; q leaves", "yellow")
        return draw(self._view, self._answer, lines=screen.size.height)


@contextmanager
def _keys_at_once(descriptor: int) -> Iterator[None]:
    """Keys come when they are pressed, unseen; as it was before afterwards."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
