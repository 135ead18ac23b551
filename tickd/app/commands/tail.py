"""`tickd tail`: the live events of some topics, from a running daemon."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import orjson
from cyclopts import Parameter

from tickd.app.asking import TIMEOUT_S, not_answered, state_dir_of
from tickd.app.control import LINE_BYTES_MAX, connected, socket_path
from tickd.app.exit_codes import ExitCode
from tickd.describe import describe_event
from tickd.errors import Action, TickdError
from tickd.events import EVENT

# The daemon says something every second; one that is silent for so long hangs.
SILENCE_S: Final = TIMEOUT_S
GONE: Final = "the daemon has gone"


def tail(
    config: Path,
    *topics: str,
    count: int = 0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> ExitCode:
    """Print the live events of some topics as they come, until Ctrl-C or the daemon's end.

    Prices and sizes are natural numbers, times UTC. A terminal that is too slow misses events, and
    is told how many; what is recorded suffers nothing. What was earlier: tickd inspect.

    Args:
        config: the daemon's config file, or its state directory
        topics: patterns, e.g. trade.*.BTCUSDT; everything without one
        count: end after so many events; 0: never
        as_json: one JSON object per line

    Examples:
        tickd tail tickd.toml "trade.*.BTCUSDT"
        tickd tail /var/lib/tickd "gap.*.*" "book_state.*.*"
        tickd tail tickd.toml "quote.*.*" --json | jq .price

    """
    state_dir = state_dir_of(config)
    try:
        asyncio.run(_print(state_dir, topics or ("*",), count=count, as_json=as_json))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has enough, as `head` has. What Python still holds would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK


async def _print(state_dir: Path, topics: tuple[str, ...], *, count: int, as_json: bool) -> None:
    printed = 0
    async for fields in _events(state_dir, topics):
        line = orjson.dumps(fields).decode() if as_json else _text(fields)
        sys.stdout.write(line + "\n")
        if "dropped" not in fields:
            printed += 1
            if printed == count:
                return


async def _events(state_dir: Path, topics: tuple[str, ...]) -> AsyncIterator[dict[str, Any]]:
    """Fields of each event; `{"dropped": n}` where n were missed. Ends with the daemon."""
    path = socket_path(state_dir)
    if sys.stderr.isatty():  # for who watches: a quiet topic shows nothing for long
        asked = " ".join(topics) or "everything"
        print(f"{asked}, as it comes, until Ctrl-C", file=sys.stderr)  # noqa: T201
    try:
        async with asyncio.timeout(SILENCE_S):
            reader, writer = await connected(path, limit=LINE_BYTES_MAX)
            writer.write(orjson.dumps({"command": "tail", "topics": list(topics)}) + b"\n")
            await writer.drain()
    except OSError as error:
        raise not_answered(path, error) from error
    try:
        async for fields in _read(reader):
            yield fields
            if reader.at_eof():
                break
    except TimeoutError as error:
        raise not_answered(path, error) from error
    except BrokenPipeError:
        raise  # of whoever reads what we print
    except (ConnectionError, asyncio.IncompleteReadError):
        print(GONE, file=sys.stderr)  # noqa: T201 - for who watches
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    definitions: dict[int, dict[str, Any]] = {}
    missed = 0
    while True:
        sys.stdout.flush()
        async with asyncio.timeout(SILENCE_S):
            line = await reader.readline()
        if not line:
            print(GONE, file=sys.stderr)  # noqa: T201 - for who watches
            return
        said = orjson.loads(line)
        if "error" in said:
            raise TickdError(said["error"], action=Action.FATAL, hint=said.get("hint"))
        if "definition" in said:
            definitions[said["instrument"]] = said["definition"]
            continue
        if said.get("dropped", 0) > missed:
            yield {"dropped": said["dropped"] - missed}
            missed = said["dropped"]
        if "end" in said:
            print(said["end"], file=sys.stderr)  # noqa: T201
            return
        if "records" in said:
            async with asyncio.timeout(SILENCE_S):
                data = await reader.readexactly(said["records"] * EVENT.itemsize)
            for event in np.frombuffer(data, EVENT):
                values = dict(zip(EVENT.names or (), event.tolist(), strict=True))
                yield describe_event(said["topic"], values, definitions.get(values["instrument"]))


def _text(fields: dict[str, Any]) -> str:
    if "dropped" in fields:
        return f"… {fields['dropped']:,} events missed: this terminal is slower than the topic"
    head = f"{fields['ts_recv']} {fields['topic']} {fields['kind']}"
    skip = {"frame_no", "index", "ts_recv", "ts_event", "topic", "seq", "kind"}
    return head + "".join(f" {key}={value}" for key, value in fields.items() if key not in skip)
