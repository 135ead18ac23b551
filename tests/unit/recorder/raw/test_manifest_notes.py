"""Lines that others add to the manifest: through a live log's writer, offline under its lock."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import xxhash

from tests.reference import raw_log as reference
from tickd.native import Decoder, NativeError, OfflineManifest, RawLog, Xxh3, manifest_read


def note(kind: str = "shipped", **fields: object) -> bytes:
    known: dict[str, object] = {
        "kind": kind,
        "file": "segments/a.tkraw",
        "bytes": 7,
        "hash": "0" * 16,
        "url": "memory://",
        "key": "1/2026/11/20/a.tkraw",
        "e_tag": None,
    }
    return json.dumps({**known, **fields}).encode()


def manifest_note(directory: Path, line: bytes) -> None:
    with OfflineManifest(str(directory)) as manifest:
        manifest.note(line)


def opened(directory: Path) -> RawLog:
    log = RawLog(str(directory), node=1)
    decoder = Decoder()
    log.restore_decoder(decoder)
    log.end_burst(decoder)
    return log


def kinds(directory: Path) -> list[Any]:
    lines = reference.read_manifest(directory)  # checks sums and chain
    assert lines == manifest_read(str(directory))
    return [line["kind"] for line in lines]


def test_a_live_log_takes_lines_durably_into_its_chain(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.note(note())
    assert kinds(tmp_path) == ["started", "shipped"]
    log.note(note("verified", e_tag='"x"'))
    log.close()
    assert kinds(tmp_path) == ["started", "shipped", "verified", "sealed"]
    log = opened(tmp_path)
    assert log.recovery["clean"]
    assert log.recovery["manifest_damaged_lines"] == 0
    log.close()


def test_lines_of_many_threads_all_arrive(tmp_path: Path) -> None:
    log = opened(tmp_path)
    threads = [threading.Thread(target=lambda n=n: log.note(note(key=f"k{n}"))) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    keys = [line["key"] for line in manifest_read(str(tmp_path)) if line["kind"] == "shipped"]
    assert sorted(keys) == sorted(f"k{n}" for n in range(16))


@pytest.mark.parametrize(
    "line",
    [
        note("sealed"),
        note("deleted"),
        note(file="../../etc/passwd"),
        note(more=1),
        note(bytes=-1),
        b"",
        b"[]",
        b'{"kind":"stopped","frame_next":1}',
    ],
)
def test_any_other_line_is_refused_and_leaves_no_trace(tmp_path: Path, line: bytes) -> None:
    log = opened(tmp_path)
    with pytest.raises(NativeError) as caught:
        log.note(line)
    assert caught.value.args[0] == "refused"
    log.close()
    with pytest.raises(NativeError) as caught:
        manifest_note(tmp_path, line)
    assert caught.value.args[0] == "refused"
    assert kinds(tmp_path) == ["started", "sealed"]


def test_a_closed_log_says_so_at_once(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.close()
    with pytest.raises(NativeError) as caught:
        log.note(note())
    assert caught.value.args[0] == "misuse"


def test_offline_lines_need_the_lock(tmp_path: Path) -> None:
    log = opened(tmp_path)
    with pytest.raises(NativeError) as caught:
        manifest_note(tmp_path, note())
    assert caught.value.args[0] == "locked"
    log.close()
    manifest_note(tmp_path, note())
    manifest_note(tmp_path, note("removed"))
    assert kinds(tmp_path) == ["started", "sealed", "shipped", "removed"]
    log = opened(tmp_path)
    assert log.recovery["clean"]
    log.close()


def test_a_torn_line_is_cut_before_an_offline_one(tmp_path: Path) -> None:
    opened(tmp_path).close()
    path = tmp_path / "MANIFEST.jsonl"
    path.write_bytes(path.read_bytes() + b'{"line":2,"at')
    manifest_note(tmp_path, note())
    assert kinds(tmp_path) == ["started", "sealed", "shipped"]


def test_stream_hash_is_xxh3_of_all_parts() -> None:
    stream = Xxh3()
    for part in (b"", b"ab", bytearray(b"c" * 100_000), memoryview(b"de")):
        stream.update(part)
    whole = b"ab" + b"c" * 100_000 + b"de"
    assert stream.hexdigest() == xxhash.xxh3_64_hexdigest(whole)
