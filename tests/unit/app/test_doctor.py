"""`tickd doctor`: what is judged how, and that a machine's answer comes with a remedy.

Method: judges get figures; probes run against a directory, a loopback TLS end and a stand-in of
ClickHouse's HTTP interface, which answers as a user with few rights would be answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import ipaddress
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.config import VenueConfig
from recorder.config import ClickHouseConfig, DiskGuardConfig
from tickd.app.clickhouse_checks import RIGHTS, check_clickhouse, judge_version
from tickd.app.config import Config
from tickd.app.credential_checks import check_credentials, credential_files, expiry_of
from tickd.app.disk_checks import (
    DiskSpeed,
    check_disk,
    check_writable,
    judge_room,
    judge_speed,
    judge_syncs,
    measure_syncs,
)
from tickd.app.findings import Finding, Verdict, fail, failed, ok, summary, warn
from tickd.app.machine_checks import (
    judge_clock,
    judge_files,
    judge_kernel,
    judge_shared_memory,
)
from tickd.app.network_checks import Door, check_door, doors_of
from tickd.telemetry.system_clock import ClockState, read_clock

DAY_NS = 86_400_000_000_000


def test_only_a_failure_fails() -> None:
    findings = [ok("a", ""), warn("b", "", "do"), warn("c", "", "do")]
    assert not failed(findings)
    assert failed([*findings, fail("d", "", "do")])
    assert summary(findings) == {"OK": 1, "WARN": 2, "FAIL": 0}


def clock(synchronised: bool, error_us_max: int, offset_ns: int) -> ClockState:
    return ClockState(synchronised, offset_ns / 1e9, error_us_max / 1e6, 0.0)


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (clock(True, 4_000, 12_000), Verdict.OK),
        (clock(True, 250_000, 12_000), Verdict.WARN),
        (clock(True, 2_000_000, 12_000), Verdict.WARN),
        (clock(False, 4_000, 12_000), Verdict.WARN),
        (None, Verdict.WARN),
    ],
)
def test_clock_is_judged_by_what_the_kernel_says(state: ClockState, verdict: Verdict) -> None:
    assert judge_clock(state).verdict is verdict


@pytest.mark.parametrize("offset_us", [-250_001, -3, 0, 7, 4_999, 499_999])
def test_the_clock_is_told_in_whole_microseconds_rounded_down(offset_us: int) -> None:
    for offset_ns in (offset_us * 1_000, offset_us * 1_000 + 999):
        words = judge_clock(clock(True, 4_007, offset_ns)).words
        assert words == f"in step, offset {offset_us:,} µs, at most 4,007 µs wrong"


def test_the_kernel_is_asked_about_its_clock() -> None:
    state = read_clock()
    assert state is None or 0 <= state.error_max_s * 1e6 <= 100_000_000


@pytest.mark.parametrize(
    ("soft", "verdict"),
    [(100, Verdict.FAIL), (1_024, Verdict.WARN), (65_536, Verdict.OK), (-1, Verdict.OK)],
)
def test_open_files(soft: int, verdict: Verdict) -> None:
    assert judge_files(soft, -1).verdict is verdict


def test_kernel_limits_are_read_and_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "net/core").mkdir(parents=True)
    (tmp_path / "net/core/somaxconn").write_text("128\n")
    (tmp_path / "net/ipv4").mkdir()
    (tmp_path / "net/ipv4/tcp_rmem").write_text("4096\t131072\t6291456\n")
    found = {each.name: each.verdict for each in judge_kernel(tmp_path)}
    assert found == {"net.core.somaxconn": Verdict.WARN, "net.ipv4.tcp_rmem": Verdict.OK}


def test_shared_memory() -> None:
    assert judge_shared_memory(None).verdict is Verdict.WARN
    assert judge_shared_memory(64 << 20).verdict is Verdict.WARN
    assert judge_shared_memory(1 << 30).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("taken", "verdict"),
    [
        ([1.0] * 200, Verdict.OK),
        ([1.0] * 190 + [50.0] * 10, Verdict.WARN),
        ([600.0] * 10, Verdict.WARN),
        ([1_500.0] * 3, Verdict.FAIL),
    ],
)
def test_fsync_is_judged_by_its_p99(taken: list[float], verdict: Verdict) -> None:
    assert judge_syncs(taken, fsync_ms=500).verdict is verdict


def test_fsync_longer_than_its_interval_names_the_key() -> None:
    assert "raw_log.fsync_ms = 100" in judge_syncs([150.0] * 20, fsync_ms=100).words


def test_disk_speed() -> None:
    assert judge_speed(DiskSpeed(64 << 20, 0.3)).verdict is Verdict.OK
    assert judge_speed(DiskSpeed(64 << 20, 4.0)).verdict is Verdict.WARN
    assert judge_speed(DiskSpeed(8 << 20, 4.0)).verdict is Verdict.FAIL


def test_a_full_disk_fails_but_does_not_keep_the_daemon_from_the_start_that_makes_room() -> None:
    guard, total = DiskGuardConfig(), 100 << 30
    assert judge_room(90 << 30, total, guard, starting=False).verdict is Verdict.OK
    assert judge_room(1 << 10, total, guard, starting=False).verdict is Verdict.FAIL
    assert judge_room(1 << 10, total, guard, starting=True).verdict is Verdict.WARN


def test_a_state_directory_is_looked_for_where_it_would_be_made(tmp_path: Path) -> None:
    finding = check_writable(tmp_path / "a" / "b")
    assert finding.verdict is Verdict.OK
    assert "where it will be made" in finding.words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="/proc is refused to everybody, root included")
def test_a_directory_that_takes_no_file_fails_with_a_remedy() -> None:
    finding = check_writable(Path("/proc/tickd"))
    assert finding.verdict is Verdict.FAIL
    assert "chown" in finding.remedy


def test_probes_leave_nothing_behind(tmp_path: Path) -> None:
    ticks = iter(range(0, 10**12, 10_000_000))
    assert len(measure_syncs(tmp_path, lambda: next(ticks))) > 10
    assert list(tmp_path.iterdir()) == []


def test_quick_puts_no_load_on_the_disk(tmp_path: Path) -> None:
    def names(*, quick: bool) -> set[str]:
        ticks = iter(range(0, 10**12, 100_000_000))
        findings = check_disk(
            tmp_path,
            guard=DiskGuardConfig(),
            fsync_ms=500,
            quick=quick,
            mono_ns=lambda: next(ticks),
        )
        return {each.name for each in findings}

    assert names(quick=True) == {"state directory", "free space"}
    assert names(quick=False) >= {"fsync", "disk speed"}


# Credentials ------------------------------------------------------------------------------------


def certificate(days: float, now: dt.datetime) -> tuple[bytes, bytes]:
    """PEM of a certificate for 127.0.0.1 that ends `days` after `now`, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=365))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return made.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)


FIXED = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


@pytest.mark.parametrize("years", [1, 40])  # from 2050 on the time is written in another form
def test_expiry_is_read_out_of_a_certificate(years: int) -> None:
    days = years * 365
    expected = (FIXED + dt.timedelta(days=days)).timestamp()
    assert expiry_of(certificate(days, FIXED)[0]) == expected


@pytest.mark.parametrize("cut", [40, 200, 400])
def test_what_is_no_certificate_expires_never(cut: int) -> None:
    text = certificate(1, FIXED)[0].decode().splitlines()
    body = "".join(text[1:-1])[: cut // 4 * 4]
    broken = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
    assert expiry_of(broken.encode()) is None
    assert expiry_of(b"no certificate") is None


def test_every_file_that_a_configuration_names_is_found() -> None:
    tree = {
        "clickhouse": {"password": {"file": "/a"}, "ca_file": "/b", "key_file": "/c"},
        "venues": [{"name": "shioaji", "sdk": {"api_key": {"file": "/d"}}}],
        "accounts": [{"name": "x", "api_key_file": "/e", "ca_path": "/f"}],
        "ship": {"url": "file:///x", "secrets": {"k": {"env": "NAME"}}},
    }
    found = {(each.key, str(each.path), each.public) for each in credential_files(tree)}
    assert found == {
        ("clickhouse.password", "/a", False),
        ("clickhouse.ca_file", "/b", True),
        ("clickhouse.key_file", "/c", False),
        ("venues.shioaji.sdk.api_key", "/d", False),
        ("accounts.x.api_key_file", "/e", False),
        ("accounts.x.ca_path", "/f", False),
    }


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o600, "OK"), (0o640, "WARN"), (0o644, "FAIL"), (None, "FAIL")]
)
def test_a_secret_is_for_its_owner_only(tmp_path: Path, mode: int | None, verdict: str) -> None:
    path = tmp_path / "key"
    if mode is not None:
        path.write_text("s3cr3t-words")
        path.chmod(mode)
    (finding,) = check_credentials({"a": {"file": str(path)}}, 0)
    assert finding.verdict.value == verdict
    assert "s3cr3t" not in "".join(finding)


@pytest.mark.parametrize(("days", "verdict"), [(90, "OK"), (10, "WARN"), (-2, "FAIL")])
def test_a_certificate_is_told_before_it_ends(tmp_path: Path, days: int, verdict: str) -> None:
    path = tmp_path / "cert.pem"
    path.write_bytes(certificate(days, FIXED)[0])
    wall_ns = round(FIXED.timestamp() * 1e9)
    (finding,) = check_credentials({"clickhouse": {"cert_file": str(path)}}, wall_ns)
    assert finding.verdict.value == verdict


# Network ----------------------------------------------------------------------------------------


def test_doors_are_those_of_the_configuration_each_once() -> None:
    config = Config(
        venues=(
            VenueConfig(
                name="binance-usdm",
                symbols=("BTCUSDT",),
                ws_url="ws://127.0.0.1:9001",
                rest_url="http://127.0.0.1:9001",
            ),
            VenueConfig(name="okx", symbols=("BTC-USDT",)),
        )
    )
    doors = {(each.host, each.port, each.secure) for each in doors_of(config)}
    assert ("127.0.0.1", 9001, False) in doors
    assert any(host.endswith("okx.com") and secure for host, _, secure in doors)


@contextlib.asynccontextmanager
async def tls_end(tmp_path: Path, days: float) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """A port that speaks TLS, and a client's context that trusts it."""
    public, private = certificate(days, dt.datetime.now(dt.UTC))
    file = tmp_path / "end.pem"
    file.write_bytes(public + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    trust = ssl.create_default_context(cadata=public.decode())

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    end = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=server)
    try:
        yield end.sockets[0].getsockname()[1], trust
    finally:
        end.close()
        await end.wait_closed()


async def look(door: Door, context: ssl.SSLContext | None = None) -> Finding:
    return await check_door(
        door, mono_ns=time.monotonic_ns, wall_ns=time.time_ns(), context=context
    )


@pytest.mark.parametrize(("days", "verdict"), [(90, Verdict.OK), (5, Verdict.WARN)])
async def test_a_tls_door_tells_how_long_its_certificate_holds(
    tmp_path: Path, days: int, verdict: Verdict
) -> None:
    async with tls_end(tmp_path, days) as (port, trust):
        finding = await look(Door("venue", "127.0.0.1", port, secure=True), trust)
    assert finding.verdict is verdict, finding
    assert "TLSv1" in finding.words


async def test_a_certificate_that_nobody_trusts_fails(tmp_path: Path) -> None:
    async with tls_end(tmp_path, 90) as (port, _):
        finding = await look(Door("venue", "127.0.0.1", port, secure=True))
    assert finding.verdict is Verdict.FAIL
    assert "certificate" in finding.words


async def test_a_closed_door_and_an_unknown_name_fail(tmp_path: Path) -> None:
    async with tls_end(tmp_path, 90) as (port, _):
        pass
    assert (await look(Door("v", "127.0.0.1", port, secure=False))).verdict is Verdict.FAIL
    unknown = await look(Door("v", "no-such-host.invalid", 443, secure=True))
    assert unknown.verdict is Verdict.FAIL


# ClickHouse -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def stand_in(answer: Callable[[str], tuple[int, str]]) -> AsyncIterator[ClickHouseConfig]:
    """An HTTP end that answers statements as ClickHouse words them."""

    async def post(request: web.Request) -> web.Response:
        status, text = answer((await request.read()).decode())
        headers = {"X-ClickHouse-Exception-Code": text[6:9]} if status != 200 else {}
        return web.Response(status=status, text=text, headers=headers)

    app = web.Application()
    app.router.add_post("/", post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield ClickHouseConfig(url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


def few_rights(granted: set[str], readonly: str = "0") -> Callable[[str], tuple[int, str]]:
    def answer(sql: str) -> tuple[int, str]:
        if "version()" in sql:
            return 200, json.dumps(["24.8.4.13", time.time() * 1e3]) + "\n"
        if "system.settings" in sql:
            return 200, json.dumps(["readonly", readonly]) + "\n"
        if sql.startswith("CHECK GRANT"):
            right = sql.removeprefix("CHECK GRANT ").partition(" ON ")[0]
            return 200, f"{int(right in granted)}\n"
        if "system.disks" in sql:
            return 200, json.dumps(["default", 5e9, 100e9]) + "\n"
        return 404, "Code: 60. DB::Exception: Table tickd.migrations does not exist"

    return answer


async def asked(granted: set[str], readonly: str = "0") -> dict[str, list[Any]]:
    async with stand_in(few_rights(granted, readonly)) as config:
        findings = await check_clickhouse(config, time.time_ns)
    found: dict[str, list[Any]] = {}
    for each in findings:
        found.setdefault(each.name, []).append(each)
    return found


async def test_missing_rights_are_named_with_the_statement_that_grants_them() -> None:
    found = await asked({"SELECT"})
    rights = {each.words.partition(" on ")[0]: each for each in found["clickhouse rights"]}
    assert rights["INSERT"].verdict is Verdict.FAIL
    assert rights["INSERT"].remedy.startswith("GRANT INSERT ON tickd.*")
    assert rights["CREATE TABLE"].verdict is Verdict.WARN
    assert set(rights) == set(RIGHTS) - {"SELECT"}


async def test_a_whole_set_of_rights_is_fine_and_a_nearly_full_disk_is_told() -> None:
    found = await asked(set(RIGHTS))
    assert [each.verdict for each in found["clickhouse rights"]] == [Verdict.OK]
    assert found["clickhouse disk default"][0].verdict is Verdict.WARN
    assert found["clickhouse clock"][0].verdict is Verdict.OK
    assert found["clickhouse tables"][0].verdict is Verdict.WARN


async def test_a_readonly_user_fails() -> None:
    found = await asked(set(RIGHTS), readonly="1")
    assert found["clickhouse settings"][0].verdict is Verdict.FAIL


async def test_a_server_that_is_not_there_is_one_finding(tmp_path: Path) -> None:
    async with stand_in(few_rights(set())) as config:
        pass
    findings = await check_clickhouse(config, time.time_ns)
    assert [each.verdict for each in findings] == [Verdict.FAIL]


def test_an_old_server_fails() -> None:
    assert judge_version("22.3.1.1", "http://x").verdict is Verdict.FAIL
    assert judge_version("24.8.4.13", "http://x").verdict is Verdict.OK


# The command ------------------------------------------------------------------------------------


def test_quick_doctor_of_a_good_file_ends_with_zero(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    config = tmp_path / "tickd.toml"
    config.write_text(f'[node]\nstate_dir = "{tmp_path}/state"\n')
    done = command("doctor", "--quick", config, "--json")
    found = {each["name"]: each for each in json.loads(done.out)["findings"]}
    assert found["config"]["verdict"] == "OK"
    assert found["state directory"]["verdict"] == "OK"
    assert "fsync" not in found
    failures = [each for each in found.values() if each["verdict"] == "FAIL"]
    assert done.code == (1 if failures else 0)


def test_a_bad_file_is_a_finding_and_the_rest_is_still_told(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    config = tmp_path / "tickd.toml"
    config.write_text('[node]\nstate_dri = "x"\n')
    done = command("doctor", "--quick", config)
    assert done.code == 1
    assert "state_dri" in done.out
    assert "open files" in done.out


def test_somebody_elses_state_directory_is_not_to_be_taken_from_him(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person asks at night what ails a daemon of another user: its directory is in order."""

    def refused(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tickd.app.disk_checks._probe_file", refused)
    mine = check_writable(tmp_path)
    assert "chown it to the daemon's user" in mine.remedy
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    others = check_writable(tmp_path)
    assert others.verdict is Verdict.FAIL
    assert others.remedy.startswith(f"it belongs to uid {owner}: ask as root, or as the daemon's")
    assert "mkdir" not in others.remedy
    assert "mkdir -p" in check_writable(tmp_path / "absent").remedy
