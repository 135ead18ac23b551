"""What a support bundle is made of: each piece by itself; what fails says so in its place.

Every piece goes through the redactor before it is written. Nothing is asked twice, nothing is sent
anywhere, and no market data is among it.
"""

from __future__ import annotations

import io
import os
import platform
import sys
import tarfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

import msgspec

from tickd.app.config import Config
from tickd.app.credential_checks import credential_files
from tickd.app.encoding import encode
from tickd.app.redacting import Redactor
from tickd.config import dump
from tickd.errors import TickdError
from tickd.late_secrets import LateSecret
from tickd.native import BUILD_PROFILE, VERSION
from tickd.secrets import Secret

__all__ = ["Piece", "collect_files", "config_piece", "metrics_of", "secrets_of", "write_bundle"]

Piece = tuple[str, bytes]

FILE_BYTES_MAX: Final = 4 << 20
DUMPS_MAX: Final = 6
MANIFEST_LINES: Final = 200
LISTED_MAX: Final = 2_000
SECRET_BYTES_MAX: Final = 65_536
METRICS_SECONDS: Final = 5.0
_FACTS: Final = (
    "/proc/meminfo", "/proc/loadavg", "/proc/mounts", "/proc/pressure/cpu", "/proc/pressure/io",
    "/proc/pressure/memory", "/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/core/somaxconn",
)  # fmt: skip
_OF_PROCESS: Final = ("status", "limits", "sched", "cgroup")

README: Final = """A support bundle of tickd. Each file is one answer; *.error.txt: there was none.

config.toml      the resolved configuration; secrets are ***
doctor.json      tickd doctor
status.json      tickd status --topics; absent while no daemon runs
metrics.txt      /metrics
gaps.json        tickd gaps list
flight/, dumps/  the flight recorder; the newest dumps
manifest.jsonl   the last segments of the raw log
files.txt        names and sizes below the state directory
versions.txt     this build, Python and its packages
machine.txt      kernel, memory, limits

Secrets of the configuration, and what looks like one, are ***; so are balances, gains and losses,
and positions. JSON that is too long, or none, is left out.
Look through it before you send it all the same.
"""


def secrets_of(
    config: Config | None, tree: Mapping[str, Any], environment: Mapping[str, str]
) -> list[str]:
    """Every secret that this configuration knows: values, files, variables."""
    found = [each.reveal() for each in _secrets(config)]
    for file in credential_files(tree):
        if not file.public:
            try:
                data = file.path.read_bytes()[:SECRET_BYTES_MAX]
            except OSError:
                continue
            found.append(data.decode(errors="ignore"))
    found += [environment[name] for name in _variables(tree) if name in environment]
    return found


def _secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, LateSecret):
        yield from _secrets(value.known())
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _secrets(each)


def _variables(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if set(node) == {"env"} and isinstance(node["env"], str):
            yield node["env"]
        for each in node.values():
            yield from _variables(each)
    elif isinstance(node, list):
        for each in node:
            yield from _variables(each)


def read_tree(path: Path) -> dict[str, Any]:
    """The configuration file as it is written; empty where it cannot be read."""
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def config_piece(config: Config) -> Piece:
    return "config.toml", dump(config).encode()


def collect_files(state_dir: Path) -> Iterator[Piece]:
    """What lies in the state directory and tells of faults; no market data."""
    for name in ("before.jsonl", "current.jsonl"):
        yield from _file(state_dir / "flight" / name, f"flight/{name}")
    yield from told("dumps/dumps", _dumps(state_dir))
    try:
        with (state_dir / "raw" / "MANIFEST.jsonl").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - FILE_BYTES_MAX))
            lines = stream.read().splitlines(keepends=True)[-MANIFEST_LINES:]
        yield "manifest.jsonl", b"".join(lines)
    except OSError as error:
        yield "manifest.error.txt", str(error).encode()
    yield from told("files", _files(state_dir))


def _dumps(state_dir: Path) -> Iterator[Piece]:
    for pattern in ("*.json", "flight-*.jsonl", "fatal-*.txt"):
        for path in sorted((state_dir / "dumps").glob(pattern))[-DUMPS_MAX:]:
            yield from _file(path, f"dumps/{path.name}")


def _files(state_dir: Path) -> Iterator[Piece]:
    yield "files.txt", "\n".join(_listed(state_dir)).encode()


def _file(path: Path, name: str) -> Iterator[Piece]:
    """The end of a file: what was written last tells most.

    It begins with a whole line, and JSON is whole or left out: in a part of it names and values are
    not seen together, and its secrets would be kept.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            cut_off = max(0, size - FILE_BYTES_MAX)
            if cut_off and name.endswith(".json"):
                words = f"left out: {size:,} bytes, at most {FILE_BYTES_MAX:,}"
                yield f"{name}.error.txt", words.encode()
                return
            stream.seek(cut_off)
            if cut_off:
                stream.readline()
            yield name, stream.read()
    except FileNotFoundError:
        return
    except OSError as error:
        yield f"{name}.error.txt", str(error).encode()


def _listed(state_dir: Path) -> Iterator[str]:
    for number, path in enumerate(sorted(state_dir.rglob("*"))):
        if number == LISTED_MAX:
            yield "and more"
            return
        try:
            status = path.lstat()
        except OSError as error:
            yield f"{path.relative_to(state_dir)} {error.strerror}"
            continue
        mode, size = status.st_mode & 0o7777, status.st_size
        yield f"{mode:04o} {status.st_uid:>6} {size:>14,} {path.relative_to(state_dir)}"


def versions() -> Piece:
    packages = sorted(f"{each.name}=={each.version}" for each in distributions())
    head = [
        f"tickd {VERSION}, native {BUILD_PROFILE} build",
        f"Python {sys.version}",
        platform.platform(),
    ]
    return "versions.txt", "\n".join([*head, "", *packages]).encode()


def machine(pid: int | None) -> Piece:
    """The kernel's figures of the machine and, of a daemon at work, of its process."""
    places = [*_FACTS, *(f"/proc/{pid}/{name}" for name in _OF_PROCESS if pid)]
    parts = [" ".join(os.uname())]
    for place in places:
        try:
            parts.append(f"== {place}\n{Path(place).read_text()}")
        except OSError as error:
            parts.append(f"== {place}\n{error.strerror}")
    return "machine.txt", "\n".join(parts).encode()


def metrics_of(config: Config, port: int) -> Piece:
    """What /metrics says; `port` as the daemon itself tells it."""
    everywhere = ("0.0.0.0", "")  # noqa: S104 - compared, not listened on
    host = "127.0.0.1" if config.http.host in everywhere else config.http.host
    scheme = "https" if getattr(config.http, "cert_file", None) else "http"
    token = getattr(config.http, "token", None)
    headers = {"Authorization": f"Bearer {token.reveal()}"} if isinstance(token, Secret) else {}
    request = urllib.request.Request(f"{scheme}://{host}:{port}/metrics", headers=headers)  # noqa: S310 - the scheme is ours
    try:
        with urllib.request.urlopen(request, timeout=METRICS_SECONDS) as reply:  # noqa: S310 - as above
            return "metrics.txt", bytes(reply.read(FILE_BYTES_MAX))
    except (OSError, urllib.error.URLError) as error:
        return "metrics.error.txt", str(error).encode()


def write_bundle(
    out: Path, pieces: Iterable[Piece], redactor: Redactor, *, folder: str, wall_s: int
) -> list[str]:
    """Write the archive for its owner only and return the names in it.

    One that could not be finished is removed. Raises FileExistsError, OSError, what `pieces` raise.
    """
    names = []
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with (
            os.fdopen(descriptor, "wb") as stream,
            tarfile.open(fileobj=stream, mode="w:gz") as archive,
        ):
            for piece in pieces:
                name, clean = _clean(*piece, redactor)
                info = tarfile.TarInfo(f"{folder}/{name}")
                info.size, info.mtime, info.mode = len(clean), wall_s, 0o600
                archive.addfile(info, io.BytesIO(clean))
                names.append(name)
    except BaseException:
        with suppress(OSError):
            out.unlink()
        raise
    return names


def told(name: str, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces; what ends them before their time is one itself."""
    try:
        yield from pieces
    except OSError as error:
        yield f"{name}.error.txt", str(error).encode()


def _clean(name: str, data: bytes, redactor: Redactor) -> Piece:
    """JSON as trees, so that a name and its value are seen together; the rest as text."""
    if name.endswith(".json"):
        try:
            return name, msgspec.json.format(_clean_tree(data, redactor), indent=2)
        except (ValueError, RecursionError) as error:
            return f"{name}.error.txt", f"left out, it is no JSON: {error}".encode()
    if name.endswith(".jsonl"):
        return name, b"".join(_clean_line(line, redactor) + b"\n" for line in data.splitlines())
    return name, redactor.text(data.decode(errors="replace")).encode()


def _clean_line(line: bytes, redactor: Redactor) -> bytes:
    try:
        return _clean_tree(line, redactor)
    except (ValueError, RecursionError):
        return redactor.text(line.decode(errors="replace")).encode()


def _clean_tree(data: bytes, redactor: Redactor) -> bytes:
    """With integers of any size, as `encode` writes them; orjson reads none beyond a double."""
    return encode(redactor.tree(msgspec.json.decode(data)))


def asked(name: str, ask: Callable[[], Any]) -> tuple[Piece, Any]:
    """An answer of the daemon as JSON, and itself; None where there was none."""
    try:
        answer = ask()
    except TickdError as error:
        return (f"{name}.error.txt", str(error).encode()), None
    return (f"{name}.json", encode(answer, default=str)), answer
