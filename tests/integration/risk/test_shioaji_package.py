"""Every call of the broker against the real package's client, without a login.

Method: in a process of its own, for the client starts threads that never end. Arguments are bound
before the login is looked at: a call that is refused with AuthError was understood.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("shioaji")

PROGRAM = """
import json, shioaji
from risk.brokers.shioaji.sdk import ShioajiOrders
from risk.brokers.shioaji.requests import OrderShape
from tests.harness.order_requests import config

made = ShioajiOrders(config(simulation=True), print, None)
made._api = shioaji.Shioaji(simulation=True)
made._api.set_event_callback(made._on_event)  # taken before the login
kind = shioaji.AccountType.Stock
made.account = shioaji.Account(kind, "A123456789", "9A95", "1234567", True, "x")
shape = OrderShape("stock", "Buy", 580.5, 3, "LMT", "ROD", "00000A", "Common", "Cash")
contract = shioaji.BaseContract("STK", "TSE", "2330")
calls = {
    "place": lambda: made.place(contract, made.native(shape), print),
    "contracts": made.contracts,
    "refresh": made.refresh,
    "cached": made.cached,
    "records": made.records,
    "positions": made.positions,
    "balance": made.funds,
    "health": made.health,
    "probe": made.probe,
    "order callback": lambda: made._api.set_order_callback(made._on_order),
    "down callback": lambda: made._api.set_session_down_callback(made._on_down),
    "certificate": lambda: made._api.activate_ca("ca.pfx", "password", None),
    "subscribe": lambda: made._api.subscribe_trade(made.account),
}
told = {}
for name, call in calls.items():
    try:
        told[name] = repr(call())
    except Exception as error:
        told[name] = type(error).__name__
print(json.dumps(told))
"""


def test_the_real_client_understands_every_call_and_asks_for_the_login(tmp_path: Path):
    environment = {
        **os.environ,
        "SJ_LOG_PATH": str(tmp_path / "shioaji.log"),
        "SJ_CONTRACTS_PATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name: error for name, error in told.items() if error != "AuthError"} == {}
    assert len(told) == 13
