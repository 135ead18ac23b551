"""`tickd inspect`: look into a raw log. It reads files only; the daemon may be running."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import orjson
from cyclopts import Parameter

from tickd.app.exit_codes import ExitCode
from tickd.app.raw_view import Frame, RawView, frames_of
from tickd.describe import describe_event
from tickd.errors import ConfigError
from tickd.events import EVENT
from tickd.native import Decoder
from tickd.topics import Pattern, Topic


def inspect(
    path: Path,
    *,
    frames: bool = False,
    events: bool = False,
    jsonl: bool = False,
    from_frame: Annotated[int, Parameter(name="--from")] = 0,
    to_frame: Annotated[int | None, Parameter(name="--to")] = None,
    topic: str = "*",
    limit: int = 0,
) -> int:
    """Look into a raw log.

    Args:
        path: a state directory, a raw-log directory or one segment file
        frames: print the frames (header and payload)
        events: print the normalised events
        jsonl: one JSON object per line, for pipes
        from_frame: first frame number
        to_frame: last frame number
        topic: events of these topics only, e.g. "trade.*.BTCUSDT"
        limit: stop after so many lines; 0 = all

    Examples:
        tickd inspect /var/lib/tickd
        tickd inspect /var/lib/tickd --events --topic "trade.*.*" --limit 20
        tickd inspect segment.tkraw --frames --jsonl | jq .type

    """
    if frames and events:
        raise ConfigError("--frames and --events exclude each other", hint="ask for one of them")
    view = RawView(path)
    if events:
        lines = _event_lines(view, from_frame, to_frame, topic, jsonl=jsonl)
    elif frames:
        lines = _frame_lines(view, from_frame, to_frame, jsonl=jsonl)
    else:
        lines = _segment_lines(view, jsonl=jsonl)
    try:
        for count, line in enumerate(lines, 1):
            sys.stdout.write(line + "\n")
            if count == limit:
                break
        sys.stdout.flush()
        if frames or events:
            for part in view.elsewhere(from_frame, to_frame):
                sys.stderr.write(f"not here: {part}; {part.hint}\n")
    except BrokenPipeError:  # `| head` is a fine way to use this command
        sys.stderr.close()
    return ExitCode.DATA_LOSS if view.damaged else ExitCode.OK


def _segment_lines(view: RawView, *, jsonl: bool) -> Iterator[str]:
    if not jsonl:
        yield (
            f"{'segment':<44} {'state':<8} {'frames':>21} {'records':>10} "
            f"{'bytes':>12} {'ratio':>6}"
        )
    for part in view.elsewhere():
        if jsonl:
            yield orjson.dumps({"name": part.segment, **part._asdict(), "here": False}).decode()
            continue
        yield (
            f"{part.segment:<44} {'store':<8} {part.frame_first:>10}-{part.frame_last:<10} "
            f"{'':>10} {part.bytes:>12} {part.url}"
        )
    for info in view.segments():
        if jsonl:
            yield orjson.dumps({k: v for k, v in info.items() if k != "chunks"}).decode()
            continue
        raw_bytes = sum(chunk["raw_bytes"] for chunk in info["chunks"])
        state = "sealed" if info["sealed"] else "live"
        ratio = raw_bytes / info["bytes"] if info["bytes"] else 0.0
        yield (
            f"{info['name']:<44} {state:<8} {info['frame_first']:>10}-{info['frame_last']:<10} "
            f"{info['records']:>10} {info['bytes']:>12} {ratio:>6.2f}"
        )


def _frame_lines(view: RawView, first: int, last: int | None, *, jsonl: bool) -> Iterator[str]:
    for chunk in view.chunks(first, last):
        for frame in frames_of(chunk):
            if frame.frame_no < first or (last is not None and frame.frame_no > last):
                continue
            yield _frame_line(frame, jsonl=jsonl)


def _frame_line(frame: Frame, *, jsonl: bool) -> str:
    text = frame.payload.decode("utf-8", "backslashreplace")
    if jsonl:
        fields = msgspec.structs.asdict(frame)
        return orjson.dumps({**fields, "payload": text}).decode()
    head = f"{frame.frame_no} {frame.recv_ns} {frame.connection} {frame.type} {len(frame.payload)}"
    return f"{head} {text.replace(chr(10), chr(92) + 'n')}"


def _event_lines(
    view: RawView,
    first: int,
    last: int | None,
    topic: str,
    *,
    jsonl: bool,
) -> Iterator[str]:
    decoder = Decoder()
    pattern = Pattern.parse(topic)
    for chunk in view.chunks_from_checkpoint(first, last):
        batch = decoder.decode(chunk)
        for name, event in view.events(batch, decoder):
            frame_no = int(event["seq"]) >> 16
            if frame_no < first or (last is not None and frame_no > last):
                continue
            if pattern.matches(Topic.parse(name)):
                values = dict(zip(EVENT.names or (), event.tolist(), strict=True))
                instrument = view.instrument(decoder, values["instrument"])
                fields = describe_event(name, values, instrument)
                yield orjson.dumps(fields).decode() if jsonl else _event_text(fields)


def _event_text(fields: dict[str, object]) -> str:
    head = f"{fields['frame_no']}.{fields['index']} {fields['ts_recv']} {fields['topic']}"
    skip = {"frame_no", "index", "ts_recv", "topic", "seq"}
    return head + "".join(f" {key}={value}" for key, value in fields.items() if key not in skip)
