"""Market, strategy, gate, router and paper venue together: what is held is what was executed.

Method: a daemon trades a simulated market, is halted by its signal in the middle, killed, started
and armed again by command. Afterwards the independent reader folds the raw log's executions in
fractions; positions, money and every row of ClickHouse must agree with that fold, and no order may
have left while the log says that trading was halted. TICKD_TRADING_SECONDS and TICKD_TRADING_RATE
make it longer and busier.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.harness.processes import Daemon, query, server, tickd, venue_of, write_config
from tests.reference.positions import SlowPosition
from tests.reference.raw_log import read_log
from tickd.app.control import ask

pytestmark = [
    pytest.mark.proof,
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("chdb") is None, reason="chdb is not installed"),
    pytest.mark.timeout(900),
]

TRADER = Path(__file__).parents[1] / "servers" / "ofi_trader.py"
SECONDS = float(os.environ.get("TICKD_TRADING_SECONDS", "20"))
RATE = int(os.environ.get("TICKD_TRADING_RATE", "10000"))
MONEY = 10**8
LIMITS = """
[risk.router]
durability = "process"
[[risk.venues]]
venue = "binance-usdm"
messages_max = 4000
window_ms = 10000
[[risk.limits]]
tradable = true
hours = ["always"]
order_qty_max = "10"
order_notional_max = "1000000"
collar_bps = 500
period_collar_bps = 500
reference_age_ms_max = 5000
position_max = "1000"
gross_max = "unlimited"
net_max = "unlimited"
open_orders_max = 50
orders_max = 4000
orders_window_ms = 10000
duplicate_window_ms = 1
executions_max = "unlimited"
cancel_ratio_pct_max = "unlimited"
daily_loss_max = "unlimited"
drawdown_max = "unlimited"
free_balance_min = "0"
account_age_ms_max = 60000
[[accounts]]
broker = "paper"
name = "paper"
balance = "10000000"
entry_us = [500, 2000, 5000]
response_us = [500, 2000]
"""


def started(folder: Path, sim: dict[str, Any]) -> Daemon:
    config = write_config(folder / "tickd.toml", state_dir=folder / "state", venues=[venue_of(sim)])
    strategy = (
        f'[[strategies]]\nname = "trader"\nclass = "{TRADER}:OfiTrader"\naccount = "paper"\n'
        'topics = ["quote.binance-usdm.*"]\n'
    )
    config.write_text(config.read_text() + LIMITS + strategy)
    return Daemon(config, folder / "daemon.log")


def arm(daemon: Daemon) -> None:
    daemon.wait_for(
        lambda s: s["strategies"][0]["state"] == "running" and not s["risk"]["blockers"]
    )
    said = {"operator": "the test", "reason": "a proof"}
    offer: Any = asyncio.run(ask(daemon.state_dir, "risk_arm", **said))
    asyncio.run(ask(daemon.state_dir, "risk_confirm", token=offer["token"]))
    assert daemon.status()["risk"]["state"] == "armed"


def fills(daemon: Daemon, least: int) -> None:
    daemon.wait_for(lambda s: s["trading"]["counts"]["fills"] >= least, timeout=SECONDS + 120)


def traded(daemon: Daemon) -> None:
    """Let it trade for half the time, and until there is something to judge."""
    until_s = daemon.status()["uptime_s"] + SECONDS / 2
    daemon.wait_for(lambda s: s["uptime_s"] >= until_s, timeout=SECONDS + 60)
    fills(daemon, 20)


def test_what_is_held_is_what_was_executed(tmp_path: Path) -> None:
    arguments = ["sim", "--rate", str(RATE), "--symbols", "10", "--seed", "7"]
    with server(*arguments, log=tmp_path / "sim.log") as sim:
        daemon = started(tmp_path, sim)
        try:
            daemon.start()
            arm(daemon)
            traded(daemon)
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGUSR1)
            halted = daemon.wait_for(
                lambda s: s["risk"]["state"] == "halted" and not s["trading"]["orders_open"]
            )
            held = halted["trading"]["accounts"][0]["positions"]
            daemon.wait_for(lambda s: s["trading"]["counts"]["denied"] > 0)
            daemon.kill()
            daemon.start()
            again = daemon.wait_for(lambda s: not s["risk"]["blockers"])
            assert again["risk"]["state"] == "halted"
            assert "SIGUSR1" in again["risk"]["source"]["name"]
            assert by_name(again["trading"]["accounts"][0]["positions"]) == by_name(held)
            arm(daemon)
            traded(daemon)
            daemon.process.send_signal(signal.SIGUSR1)
            daemon.wait_for(
                lambda s: s["risk"]["state"] == "halted" and not s["trading"]["orders_open"]
            )
            daemon.wait_for(
                lambda s: s["sink"]["caught_up"] and s["trading"]["rows"]["waiting"] < 9
            )
            rows = rows_of(daemon.config)
            last = daemon.status()["trading"]["accounts"][0]
            assert daemon.stop() == 0, daemon.tail()
        finally:
            daemon.close()
    records = list(controls(tmp_path / "state" / "raw"))
    executions = [each for each in records if each["kind"] == "execution"]
    assert len(executions) > 40
    assert nothing_left_while_halted(records) > 40
    positions_agree(executions, tmp_path / "state", last)
    orders_agree(records)
    rows_agree(rows, records)
    verified = tickd("verify", str(daemon.config), timeout=300)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def by_name(positions: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    return {(each["strategy"], each["symbol"]): each["size"] for each in positions}


def controls(raw: Path) -> Iterator[dict[str, Any]]:
    """The control records of the raw log, by the reader that shares no code with ours."""
    for record in read_log(raw):
        if record.kind == "C":
            yield {**json.loads(record.payload), "frame_no": record.frame_no}


def nothing_left_while_halted(records: list[dict[str, Any]]) -> int:
    """Orders that left; each of them between an `arm` and whatever ended that."""
    is_armed, sent = False, 0
    for each in records:
        if each["kind"] == "start" or (each["kind"], each.get("action")) == ("audit", "kill"):
            is_armed = False
        elif (each["kind"], each.get("action")) == ("audit", "arm"):
            is_armed = True
        elif each["kind"] == "order" and each["state"] == "sent":
            assert is_armed, f"an order left while halted: {each}"
            sent += 1
    return sent


def positions_agree(executions: list[dict[str, Any]], state: Path, last: dict[str, Any]) -> None:
    """Sizes, money paid and received, fees: exactly; and what the status showed of them."""
    kept = json.loads((state / "risk" / "positions.json").read_text())
    definitions = {int(n): json.loads(text) for n, text in kept["definitions"].items()}
    folded: dict[tuple[str, int], SlowPosition] = {}
    seen: set[tuple[int, str]] = set()
    for each in executions:
        name = (each["number"], each["exec_id"])
        assert name not in seen, f"an execution twice: {each}"
        seen.add(name)
        told = definitions[each["instrument"]]
        slow = folded.setdefault(
            (each["strategy"], each["instrument"]), SlowPosition(Fraction(told["multiplier"]))
        )
        price = Fraction(each["price"], 10 ** told["price_scale"])
        size = Fraction(each["size"], 10 ** told["size_scale"])
        slow.apply(each["side"], price, size, Fraction(each["fee"], MONEY))
    rows = {(row[1], row[2]): row for row in kept["positions"]["rows"]}
    assert rows.keys() == folded.keys()
    for key, slow in folded.items():
        _, _, number, size, cost, realised, fees, _, _ = rows[key]
        told = definitions[number]
        decimals = len(told["multiplier"].partition(".")[2])
        scale = 10 ** max(told["price_scale"] + told["size_scale"] + decimals, 8)
        assert Fraction(size, 10 ** told["size_scale"]) == slow.size
        assert Fraction(int(realised) - int(cost), scale) == slow.cash
        assert Fraction(fees, MONEY) == slow.fees
    assert by_name(last["positions"]) == {
        (strategy, definitions[number]["symbol"]): rows[strategy, number][3]
        for strategy, number in folded
        if rows[strategy, number][3]
    }
    assert last["fees"] == sum(row[6] for row in rows.values())


def orders_agree(records: list[dict[str, Any]]) -> None:
    """Every order that left is over, and has executed what its news say."""
    filled: Counter[int] = Counter()
    news: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for each in records:
        if each["kind"] == "execution":
            filled[each["number"]] += each["size"]
        elif each["kind"] == "order" and each["number"]:
            news[each["number"]].append(each)
    left = {number for number, told in news.items() if any(e["state"] == "sent" for e in told)}
    for number in left:
        last = news[number][-1]
        assert last["state"] in ("filled", "cancelled", "expired", "rejected"), news[number]
        assert last["cum_size"] == filled[number] <= last["order_size"], news[number]
        assert (last["state"] == "filled") == (filled[number] == last["order_size"])


def rows_of(config: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        "fills": query(config, "SELECT seq, exec_id, price, size, fee FROM fills ORDER BY seq"),
        "orders": query(config, "SELECT seq, state FROM orders ORDER BY seq"),
        "risk": query(config, "SELECT seq, verdict, reason FROM risk_decisions ORDER BY seq"),
        "audit": query(config, "SELECT seq, action FROM audit ORDER BY seq"),
    }


def rows_agree(rows: dict[str, list[dict[str, Any]]], records: list[dict[str, Any]]) -> None:
    """Row by row what the log says, up to the last row that was asked for."""
    kinds = {"fills": "execution", "orders": "order", "risk": "risk", "audit": "audit"}
    for table, stored in rows.items():
        last = max(int(row["seq"]) for row in stored) >> 16
        kind = kinds[table]
        logged = [e for e in records if e["kind"] == kind and e["frame_no"] <= last]
        for key in stored[0].keys() - {"seq"}:
            ours = [(e["frame_no"], str(e.get(key, ""))) for e in logged]
            theirs = [(int(row["seq"]) >> 16, str(row[key])) for row in stored]
            assert ours == theirs, f"{table}.{key}"
