"""`tickd verify`: exit codes, what people read, what programs read."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from recorder.sink.plan import Plan
from tickd.app.commands.verify import verify
from tickd.app.exit_codes import ExitCode
from tickd.errors import ConfigError
from tickd.testing.wire_log import WireLog


@pytest.fixture
def config(tmp_path):
    """A recording whose ClickHouse is away."""
    log = WireLog(tmp_path / "state" / "raw", seed=1, segment_bytes_max=60_000)
    for _ in range(20):
        log.burst(100)
    log.close()
    path = tmp_path / "tickd.toml"
    path.write_text(
        f'[node]\nstate_dir = "{tmp_path / "state"}"\n'
        '[clickhouse]\nurl = "http://127.0.0.1:9"\nconnect_timeout_ms = 500\n'
        '[[venues]]\nname = "binance-usdm"\nsymbols = ["AAAUSDT"]\n'
    )
    return path


def damage(config):
    path = min((config.parent / "state" / "raw" / "segments").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def test_what_could_not_be_checked_is_code_1_and_said(config, capsys):
    assert verify(config) is ExitCode.FAILED
    said = capsys.readouterr().out
    assert "not checked: rows in ClickHouse" in said
    assert "0 missing" in said
    assert "control.instrument 3" in said


def test_a_difference_is_code_3_even_if_not_everything_could_be_checked(config, capsys):
    path = damage(config)
    assert verify(config) is ExitCode.DATA_LOSS
    assert f"segment_damaged: {path.name}" in capsys.readouterr().out


def test_json_has_the_schema_and_every_total(config, capsys):
    assert verify(config, as_json=True) is ExitCode.FAILED
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "tickd-verify/1"
    assert report["ok"] is False
    assert report["findings"] == []
    assert report["findings_count"] == 0
    assert len(report["unchecked"]) == 1
    frames = report["frames"]
    assert frames["all"] == frames["with_rows"] + sum(frames["without_rows"].values()) > 2_000
    assert report["seconds"] > 0


def test_beside_a_daemon_whose_server_has_nothing_yet_no_row_is_compared(config, capsys):
    answer = b'{"result":{"sink":{"frame_settled":-1}}}\n'
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(config.parent / "state" / "control.sock"))
        listening.listen()

        def serve():
            asked, _ = listening.accept()
            with asked:
                asked.recv(1_000)
                asked.sendall(answer)

        daemon = threading.Thread(target=serve)
        daemon.start()
        assert verify(config, as_json=True) is ExitCode.FAILED
        daemon.join()
    report = json.loads(capsys.readouterr().out)
    assert report["frame_to"] == 0
    assert report["findings"] == []


def test_sql_alone_cannot_check_without_a_server(config, capsys):
    assert verify(config, sql=True) is ExitCode.FAILED
    assert "not checked" in capsys.readouterr().out


def test_strict_makes_what_is_pending_a_difference(config, capsys):
    plan = Plan(config.parent / "state" / "sink" / "plan.jsonl")
    plan.spill("quotes", 5, 9, "the spool is full")
    plan.close()
    assert verify(config) is ExitCode.FAILED
    assert "pending: 1 ranges spilled (quotes)" in capsys.readouterr().out
    assert verify(config, strict=True) is ExitCode.DATA_LOSS
    assert "no difference but what is pending, which --strict counts as one" in (
        capsys.readouterr().out
    )


def test_a_store_that_is_not_configured_cannot_be_asked(config, capsys):
    assert verify(config, remote=True, as_json=True) is ExitCode.FAILED
    assert json.loads(capsys.readouterr().out)["checked"]["objects"] == 0


def test_without_a_raw_log_it_is_said_and_nothing_is_made(tmp_path):
    path = tmp_path / "tickd.toml"
    path.write_text(
        f'[node]\nstate_dir = "{tmp_path / "elsewhere"}"\n'
        '[[venues]]\nname = "binance-usdm"\nsymbols = ["AAAUSDT"]\n'
    )
    with pytest.raises(ConfigError, match="no raw log at"):
        verify(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_bad_config_is_refused(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[node]\nidd = 1\n")
    with pytest.raises(ConfigError):
        verify(path)
