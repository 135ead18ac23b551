"""The engine: chdb connections on worker threads, results through pipes, data through memory files.

Measured reasons for the detours (chdb 4.4.0): streamed results repeat headers per block, so results
leave through INTO OUTFILE on a pipe; `send_insert` loses errors and inline data is cut at ';', so
data enters through FROM INFILE on a memory file, which leaves nothing behind after kill -9. It
speaks no HTTP.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import chdb

from recorder.embedded.jit import NOT_COMPILED, may_write_code
from recorder.embedded.statement import Statement, StatementError

__all__ = ["Engine", "EngineError", "Request", "Summary"]

_SETTING_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_CODE: Final = re.compile(r"Code: (\d+)")
_DOUBLED: Final = re.compile(r"(?:Code: \d+\. DB::Exception: )+(Code: \d+\. DB::Exception: )")
# Answers of statements are small or streamed; a background pool sized for two cores keeps a laptop
# usable.
_BACKGROUND: Final = "background_pool_size=2&mark_cache_size=268435456"


class EngineError(Exception):
    """What the engine refused, in ClickHouse's own words."""

    def __init__(self, text: str) -> None:
        start = text.find("Code: ")
        text = text[start:] if start >= 0 else f"Code: 1001. DB::Exception: {text}. (STD_EXCEPTION)"
        super().__init__(_DOUBLED.sub(r"\1", text))
        found = _CODE.match(str(self))
        self.code: int = int(found[1]) if found else 1001


@dataclass(frozen=True, slots=True)
class Request:
    """What surrounds a statement; parameters are escaped as ClickHouse wants them in a URL."""

    database: str
    settings: dict[str, str]
    parameters: dict[str, str]
    default_format: str


@dataclass(slots=True)
class Summary:
    """What X-ClickHouse-Summary reports."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0
    output: bytes = b""  # of statements that are not reads


@dataclass(slots=True)
class _Session:
    """One connection, used by one thread; chdb keeps settings and database per connection."""

    connection: Any  # chdb has no types
    database: str = "default"
    broken: bool = False
    base: dict[str, str] = field(default_factory=dict)


class Engine:
    """One chdb engine; a process has one path only. Methods block: run them on the pools."""

    def __init__(
        self,
        path: Path,
        *,
        workers: int,
        memory_bytes_max: int,
        query_memory_bytes_max: int,
    ) -> None:
        # The path must be absolute: with a relative one tables with fsync_part_directory fail (code
        # 107).
        self._target = f"{path.absolute()}?max_server_memory_usage={memory_bytes_max}&{_BACKGROUND}"
        if not may_write_code():
            self._target += f"&{NOT_COMPILED}"
        spill = str(query_memory_bytes_max // 2)
        self._base = {
            "max_memory_usage": str(query_memory_bytes_max),
            "max_bytes_before_external_group_by": spill,
            "max_bytes_before_external_sort": spill,
            "async_insert": "0",  # default 1: an insert would be acknowledged by another rule
        }
        self._local = threading.local()
        self._root = chdb.connect(
            self._target
        )  # keeps the engine alive while worker sessions come and go
        self.version: str = str(self._root.query("SELECT version()", "TSVRaw")).strip()
        # Two pools, so that slow readers never hold up the recorder's inserts.
        self.inserts = ThreadPoolExecutor(max(1, workers // 4), thread_name_prefix="insert")
        self.reads = ThreadPoolExecutor(max(1, workers - workers // 4), thread_name_prefix="read")
        # And one that waits behind no statement, so that work is not mistaken for a hang.
        self.pulses = ThreadPoolExecutor(1, thread_name_prefix="pulse")

    def close(self) -> None:
        """Wait for running statements, then let go of the files."""
        self.pulses.shutdown(wait=False, cancel_futures=True)
        for pool in (self.inserts, self.reads):
            pool.shutdown(wait=True)
        self._root.close()

    def read(self, statement: Statement, request: Request, out_fd: int, mark: str) -> Summary:
        """Run a read, its rows into the pipe `out_fd`, closed at the end. Raises EngineError.

        `mark` (letters and digits) is what `cancel` finds it by: chdb gives no query id.
        """
        try:
            path = f"/proc/self/fd/{out_fd}"
            comment = f"/* tickd {mark} */"
            return self._run(statement.into(path, request.default_format, comment=comment), request)
        finally:
            os.close(out_fd)

    def pulse(self) -> None:
        """Return once the engine has answered anything, a refusal as well."""
        with contextlib.suppress(RuntimeError, chdb.ChdbError):
            self._session().connection.query("SELECT 1")

    def cancel(self, mark: str) -> None:
        """Cancel the read with this mark, if it runs."""
        # Concatenated, so that this statement does not find itself.
        marked = f"position(query, concat('/* tickd ', '{mark} */')) > 0"
        with contextlib.suppress(RuntimeError, chdb.ChdbError):
            self._session().connection.query(f"KILL QUERY WHERE {marked} ASYNC")

    def insert(self, statement: Statement, request: Request, data_fd: int) -> Summary:
        """Run an insert from the memory file `data_fd`, which stays open. Raises EngineError."""
        size = os.fstat(data_fd).st_size
        summary = self._run(statement.data_from(f"/proc/self/fd/{data_fd}"), request)
        summary.written_bytes = size
        summary.result_rows = summary.written_rows
        return summary

    def other(self, statement: Statement, request: Request) -> Summary:
        """Run any other statement. Raises EngineError."""
        summary = self._run(statement.head, request)
        if statement.changes_database:
            self._session().database = ""
        return summary

    def _run(self, sql: str, request: Request) -> Summary:
        started_ns = time.monotonic_ns()
        session = self._session()
        try:
            self._enter(session, request)
            try:
                reply = session.connection.query(
                    sql, request.default_format, params=request.parameters
                )
            finally:
                self._leave(session, request.settings)
        except (RuntimeError, chdb.ChdbError) as error:
            raise EngineError(str(error)) from None
        return Summary(
            read_rows=reply.storage_rows_read(),
            read_bytes=reply.storage_bytes_read(),
            written_rows=reply.rows_written(),
            written_bytes=reply.bytes_written(),
            result_rows=reply.rows_read(),
            elapsed_ns=time.monotonic_ns() - started_ns,
            output=reply.bytes() or b"",
        )

    def _session(self) -> _Session:
        session: _Session | None = getattr(self._local, "session", None)
        if session is None or session.broken:
            if session is not None:
                session.connection.close()
            session = self._local.session = _Session(chdb.connect(self._target), base=self._base)
            session.connection.query(_set(session.base))
        return session

    def _enter(self, session: _Session, request: Request) -> None:
        for name in request.settings:
            if not _SETTING_NAME.fullmatch(name):
                text = f"Code: 115. DB::Exception: Unknown setting '{name}'. (UNKNOWN_SETTING)"
                raise EngineError(text)
        if session.database != request.database:
            session.connection.query(f"USE {_identifier(request.database)}")
            session.database = request.database
        if request.settings:
            # `readonly` cannot be taken back inside a session: such a session is used once.
            session.broken = request.settings.get("readonly", "0") != "0"
            session.connection.query(_set(request.settings))

    def _leave(self, session: _Session, settings: dict[str, str]) -> None:
        if not settings or session.broken:
            return
        back = ", ".join(
            f"{name} = {_literal(session.base[name])}"
            if name in session.base
            else f"{name} = DEFAULT"
            for name in settings
        )
        with contextlib.suppress(RuntimeError, chdb.ChdbError):
            session.connection.query(f"SET {back}")
            return
        session.broken = True  # an unknown setting was among them: start afresh


def _set(settings: dict[str, str]) -> str:
    return "SET " + ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _identifier(name: str) -> str:
    if "\0" in name:
        raise StatementError(62, "SYNTAX_ERROR", "Database name holds a zero byte")
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"
