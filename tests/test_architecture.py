"""The shape of the house, enforced: who may import, construct, wait and ask for the time.

Method: each rule is a function from one file's text to its violations; it is run over every file,
and shown to fail on a bad snippet.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path

import pytest

from gateway.venues.registry import VENUE_NAMES, is_callback
from recorder.sinks.registry import SINK_NAMES
from tickd.bus_queue import WhenFull
from tickd.native import VENUES

ROOT = Path(__file__).parents[1]
STAGES = ("gateway", "recorder", "strategy_runner", "risk")
PACKAGES = ("tickd", *STAGES, "backtest")
# Pure: bytes, events and times in, values out. They import no loop, no clock, no files, no dice.
PURE = (
    "tickd/errors.py",
    "tickd/events.py",
    "tickd/ports.py",
    "tickd/topics.py",
    "tickd/units.py",
    "strategy_runner/config.py",
    "strategy_runner/decisions.py",
    "strategy_runner/errors.py",
    "strategy_runner/timers.py",
    "gateway/backoff.py",
    "gateway/callbacks/guard.py",
    "gateway/callbacks/venue.py",
    "gateway/errors.py",
    "gateway/filling/schedule.py",
    "gateway/filling/status.py",
    "gateway/limits.py",
    "gateway/shedding.py",
    "gateway/subscriptions/*.py",
    "gateway/rotation.py",
    "gateway/watchdog.py",
    "gateway/venues/*.py",
    "gateway/venues/*/wire.py",
    "gateway/venues/*/sync.py",
    "gateway/venues/*/history.py",
    "gateway/venues/*/limits.py",
    "gateway/venues/*/hours.py",
    "gateway/venues/*/contracts.py",
    "gateway/venues/*/past.py",
    "risk/approval.py",
    "risk/compiling.py",
    "risk/errors.py",
    "risk/gate.py",
    "risk/gate_terms.py",
    "risk/gate_twin*.py",
    "risk/limits.py",
    "risk/orders.py",
    "risk/reasons.py",
    "risk/reasons_page.py",
    "risk/tightening.py",
    "risk/trading_hours.py",
    "recorder/raw/disk_guard.py",
    "recorder/sink/cutting.py",
    "recorder/errors.py",
    "risk/config.py",
    "risk/errors.py",
    "risk/triggers.py",
    "risk/order.py",
    "risk/order_facts.py",
    "risk/order_records.py",
    "risk/order_table.py",
    "risk/outbox_format.py",
    "risk/recovery.py",
    "risk/resolve.py",
    "risk/router_config.py",
    "recorder/sink/ledger.py",
    "recorder/sink/retry.py",
    "risk/brokers/paper/config.py",
    "risk/positions.py",
    "risk/prices.py",
    "risk/brokers/*/wire.py",
    "risk/brokers/shioaji/correlation.py",
    "risk/brokers/shioaji/listing.py",
    "risk/brokers/shioaji/numbers.py",
    "risk/brokers/shioaji/rate.py",
    "risk/brokers/shioaji/requests.py",
    "risk/brokers/shioaji/translate.py",
    "strategy_runner/indicators/*.py",
    "strategy_runner/indicators/twin/*.py",
    "risk/brokers/binance/config.py",
    "risk/brokers/binance/errors.py",
    "risk/brokers/binance/listings.py",
    "risk/brokers/binance/reports.py",
    "risk/brokers/binance/wire.py",
    "risk/stands/binance/access.py",
    "risk/stands/binance/account.py",
    "risk/stands/binance/shapes.py",
)
IMPURE_MODULES = {"asyncio", "time", "os", "random"}
# Where the time and the environment may be asked for: the clock, the composition roots, and child
# processes, which are composition roots of their own.
CLOCK_PLACES = (
    "tickd/clock.py",
    "tickd/backend.py",  # chosen when a package is imported, before any composition root runs
    "tickd/app/*.py",
    "tickd/app/commands/*.py",
    "recorder/embedded/*.py",
)
CLOCK_CALLS = re.compile(
    r"(time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns)"
    r"|datetime\.(now|utcnow|today)|date\.today|os\.(environ|getenv))"
)
# Where a broad `except` may stand: the top of the program, the bus's dispatch, the strategy host,
# and the top of a thread that hands what happened to whoever waits.
BROAD_EXCEPT_PLACES = (
    "tickd/app/*.py",
    "tickd/bus_control.py",
    "strategy_runner/host.py",
    "tickd/calls.py",
    "risk/brokers/shioaji/order_thread.py",
    # A bug in one broker must not end the daemon, or keep other orders, in the middle of a kill.
    "risk/asking.py",
    "risk/cancelling.py",
    "risk/panic.py",
)
# Who may make approvals: the gate, and its twin.
SEALERS = ("risk/approval.py", "risk/gate.py", "risk/gate_twin.py")
LOOSE_TASKS = {"ensure_future", "gather", "create_task"}
# Not a TaskGroup: what these names give tasks to has no owner.
LOOSE_OWNERS = {"asyncio", "loop"}

Rule = Callable[[str, str], Iterator[str]]


def sources() -> list[str]:
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in found)


@lru_cache(maxsize=1)
def nodes(text: str) -> tuple[ast.AST, ...]:
    """Every node of a file, which one rule after the other goes through; millions if all stayed."""
    return tuple(ast.walk(ast.parse(text)))


def among(path: str, patterns: tuple[str, ...]) -> bool:
    # `*` must not reach into folders: gateway/venues/*.py is not gateway/venues/okx/wire.py.
    return any(fnmatch(path, each) and path.count("/") == each.count("/") for each in patterns)


def imported(text: str) -> Iterator[tuple[int, str]]:
    for node in nodes(text):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level
            # `from tickd import app` imports tickd.app.
            yield from ((node.lineno, f"{node.module or ''}.{each.name}") for each in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def stages_import_only_the_spine(path: str, text: str) -> Iterator[str]:
    home = path.split("/", 1)[0]
    for line, module in imported(text):
        if module.startswith("."):
            yield f"{path}:{line}: relative import"
        foreign = [
            stage for stage in (*STAGES, "backtest") if within(module, stage) and stage != home
        ]
        if home in STAGES and (foreign or within(module, "tickd.app")):
            yield f"{path}:{line}: stage {home} imports {module}"
        if home == "tickd" and foreign and not path.startswith("tickd/app/"):
            yield f"{path}:{line}: the spine imports {module}"


def native_module_has_one_importer(path: str, text: str) -> Iterator[str]:
    for line, module in imported(text):
        if within(module, "tickd._native") and path != "tickd/native.py":
            yield f"{path}:{line}: imports {module}; only tickd/native.py may"


def pure_modules_stay_pure(path: str, text: str) -> Iterator[str]:
    if among(path, PURE):
        for line, module in imported(text):
            if module.split(".", 1)[0] in IMPURE_MODULES:
                yield f"{path}:{line}: pure module imports {module}"


def time_and_environment_come_from_outside(path: str, text: str) -> Iterator[str]:
    if among(path, CLOCK_PLACES):
        return
    for node in nodes(text):
        if isinstance(node, ast.Attribute) and CLOCK_CALLS.fullmatch(ast.unparse(node)):
            yield f"{path}:{node.lineno}: {ast.unparse(node)} is for the clock and tickd.app"


def tasks_have_owners_and_names(path: str, text: str) -> Iterator[str]:
    for node in nodes(text):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        owner, _, method = name.rpartition(".")
        if method not in LOOSE_TASKS:
            continue
        loose = method != "create_task" or not owner or "get_running_loop" in owner
        if loose or owner.split(".")[-1] in LOOSE_OWNERS:
            yield f"{path}:{node.lineno}: {name} has no owner; use a TaskGroup"
        elif not any(keyword.arg == "name" for keyword in node.keywords):
            yield f"{path}:{node.lineno}: task without a name"


def broad_except_only_at_the_edges(path: str, text: str) -> Iterator[str]:
    if among(path, BROAD_EXCEPT_PLACES):
        return
    for node in nodes(text):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {"" if each is None else ast.unparse(each) for each in caught}
        if names & {"", "Exception", "BaseException"} and not reraises(node):
            yield f"{path}:{node.lineno}: broad except"


def reraises(handler: ast.ExceptHandler) -> bool:
    """Cleaning up and passing the exception on hides nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def queues_have_limits(path: str, text: str) -> Iterator[str]:
    for node in nodes(text):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.Queue":
            sized = node.args or any(keyword.arg == "maxsize" for keyword in node.keywords)
            if not sized or (node.args and ast.unparse(node.args[0]) == "0"):
                yield f"{path}:{node.lineno}: queue without a limit"


def approvals_are_sealed_by_the_gate(path: str, text: str) -> Iterator[str]:
    """Only who seals can make an approval, and brokers take nothing else."""
    if path in SEALERS:
        return
    for line, module in imported(text):
        if module == "risk.approval.SEAL":
            yield f"{path}:{line}: imports the seal of the gate"
    for node in nodes(text):
        if isinstance(node, ast.Attribute) and node.attr in {"SEAL", "_check_seal"}:
            yield f"{path}:{node.lineno}: reaches for the seal of the gate"


RULES: list[Rule] = [
    stages_import_only_the_spine,
    native_module_has_one_importer,
    pure_modules_stay_pure,
    time_and_environment_come_from_outside,
    tasks_have_owners_and_names,
    broad_except_only_at_the_edges,
    queues_have_limits,
    approvals_are_sealed_by_the_gate,
]

# (rule, path, snippet that breaks it, or that must pass when the last entry is False)
SNIPPETS: list[tuple[Rule, str, str, bool]] = [
    (stages_import_only_the_spine, "gateway/a.py", "import recorder.sink.sink", True),
    (stages_import_only_the_spine, "gateway/a.py", "from risk import gate", True),
    (stages_import_only_the_spine, "risk/a.py", "from tickd.app.wiring import run", True),
    (stages_import_only_the_spine, "risk/a.py", "from tickd import app", True),
    (stages_import_only_the_spine, "risk/a.py", "def f():\n    import gateway.rest", True),
    (stages_import_only_the_spine, "tickd/bus.py", "import recorder", True),
    (stages_import_only_the_spine, "tickd/bus.py", "from .events import EVENT", True),
    (stages_import_only_the_spine, "tickd/app/wiring.py", "import recorder", False),
    (stages_import_only_the_spine, "gateway/a.py", "import gateway.b\nimport gatewayish", False),
    (native_module_has_one_importer, "tickd/bus.py", "from tickd import _native", True),
    (native_module_has_one_importer, "tickd/bus.py", "from tickd._native import EventBatch", True),
    (native_module_has_one_importer, "tickd/bus.py", "from tickd.native import EventBatch", False),
    (pure_modules_stay_pure, "tickd/topics.py", "from time import time", True),
    (pure_modules_stay_pure, "gateway/venues/okx/wire.py", "import os.path", True),
    (pure_modules_stay_pure, "gateway/session.py", "import asyncio", False),
    (time_and_environment_come_from_outside, "risk/a.py", "now = time.time_ns()", True),
    (time_and_environment_come_from_outside, "risk/a.py", "x = os.environ['A']", True),
    (time_and_environment_come_from_outside, "risk/a.py", "x = datetime.now(UTC)", True),
    (time_and_environment_come_from_outside, "tickd/clock.py", "now = time.time_ns()", False),
    (tasks_have_owners_and_names, "risk/a.py", "asyncio.create_task(f(), name='f')", True),
    (tasks_have_owners_and_names, "risk/a.py", "asyncio.get_running_loop().create_task(f())", True),
    (tasks_have_owners_and_names, "risk/a.py", "await asyncio.gather(a(), b())", True),
    (tasks_have_owners_and_names, "risk/a.py", "ensure_future(f())", True),
    (tasks_have_owners_and_names, "risk/a.py", "self.loop.create_task(f(), name='f')", True),
    (tasks_have_owners_and_names, "risk/a.py", "group.create_task(f())", True),
    (tasks_have_owners_and_names, "risk/a.py", "group.create_task(f(), name='f')", False),
    (broad_except_only_at_the_edges, "risk/a.py", "try: f()\nexcept Exception: pass", True),
    (broad_except_only_at_the_edges, "risk/a.py", "try: f()\nexcept: pass", True),
    (
        broad_except_only_at_the_edges,
        "risk/a.py",
        "try: f()\nexcept (A, BaseException): pass",
        True,
    ),
    (
        broad_except_only_at_the_edges,
        "risk/a.py",
        "try: f()\nexcept BaseException:\n g()\n raise",
        False,
    ),
    (broad_except_only_at_the_edges, "risk/a.py", "try: f()\nexcept OSError: pass", False),
    (queues_have_limits, "risk/a.py", "q = asyncio.Queue()", True),
    (queues_have_limits, "risk/a.py", "q = asyncio.Queue(0)", True),
    (queues_have_limits, "risk/a.py", "q = asyncio.Queue(maxsize=5)", False),
    (approvals_are_sealed_by_the_gate, "risk/router.py", "from risk.approval import SEAL", True),
    (approvals_are_sealed_by_the_gate, "risk/router.py", "x = risk.approval.SEAL", True),
    (approvals_are_sealed_by_the_gate, "risk/router.py", "from risk.approval import Denied", False),
    (approvals_are_sealed_by_the_gate, "risk/gate.py", "from risk.approval import SEAL", False),
]


@cache
def violations() -> dict[Rule, list[str]]:
    found: dict[Rule, list[str]] = {rule: [] for rule in RULES}
    for path in sources():
        text = (ROOT / path).read_text()
        for rule in RULES:
            found[rule] += rule(path, text)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house_obeys(rule: Rule) -> None:
    assert not violations()[rule], "\n".join(violations()[rule])


@pytest.mark.parametrize(("rule", "path", "snippet", "breaks"), SNIPPETS)
def test_rule_sees_what_it_is_for(rule: Rule, path: str, snippet: str, breaks: bool) -> None:
    assert bool(list(rule(path, snippet))) is breaks


def test_every_rule_has_a_snippet_that_breaks_it() -> None:
    assert {rule for rule, _, _, breaks in SNIPPETS if breaks} == set(RULES)


def test_every_exception_names_something_that_exists() -> None:
    for pattern in (*PURE, *CLOCK_PLACES, *BROAD_EXCEPT_PLACES, *SEALERS):
        assert any(among(path, (pattern,)) for path in sources()), pattern


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_marked_as_ours(package: str) -> None:
    """`risk` and `gateway` are generic names: another distribution must not pass for ours."""
    text = (ROOT / package / "__init__.py").read_text()
    assert "__tickd_stage__ = True" in text
    assert (ROOT / package / "py.typed").exists()


# A venue is: a folder with these files, one registry line, its decoder, its fixtures; nothing else
# knows its name.
VENUE_FILES = {"__init__.py", "README.md", "history.py", "limits.py", "sync.py", "wire.py"}
# Of a venue behind a broker's SDK.
CALLBACK_VENUE_FILES = (VENUE_FILES - {"history.py", "sync.py"}) | {
    "contracts.py",
    "hours.py",
    "past.py",
    "sdk.py",
}


def venue_folders(root: Path) -> set[str]:
    folders = (path.parent for path in (root / "gateway/venues").glob("*/wire.py"))
    return {folder.name.replace("_", "-") for folder in folders}


def registry_problems(names: tuple[str, ...], folders: set[str], what: str = "venue") -> list[str]:
    problems = [f"{what} {name} is registered and has no folder" for name in set(names) - folders]
    problems += [f"folder of {name} is not registered" for name in folders - set(names)]
    return problems + [f"a {what} is registered twice"] * (len(names) != len(set(names)))


def test_registry_lists_exactly_the_folders() -> None:
    assert registry_problems(VENUE_NAMES, venue_folders(ROOT)) == []
    assert registry_problems(("a", "a"), {"a", "b"}) == [
        "folder of b is not registered",
        "a venue is registered twice",
    ]
    assert registry_problems(("a", "c"), {"a"}) == ["venue c is registered and has no folder"]


SINK_FILES = {"__init__.py", "README.md", "config.py", "sink.py"}


def test_sink_registry_lists_exactly_the_folders() -> None:
    folders = {path.parent.name for path in (ROOT / "recorder/sinks").glob("*/sink.py")}
    assert registry_problems(SINK_NAMES, folders, "sink") == []


def test_every_venue_has_a_decoder_and_every_decoder_a_venue() -> None:
    assert sorted(VENUE_NAMES) == sorted(VENUES)


@pytest.mark.parametrize("sink", SINK_NAMES)
def test_every_sink_has_its_files_and_its_name(sink: str) -> None:
    folder = ROOT / "recorder/sinks" / sink
    assert {path.name for path in folder.iterdir()} >= SINK_FILES
    section = import_module(f"recorder.sinks.{sink}.config").CONFIG
    assert section.__struct_config__.tag == sink
    assert import_module(f"recorder.sinks.{sink}.sink").SINK.when_full in (
        WhenFull.DROP_OLDEST,
        WhenFull.DISCONNECT,
    )


@pytest.mark.parametrize("venue", VENUE_NAMES)
def test_every_venue_has_the_same_files(venue: str) -> None:
    folder = ROOT / "gateway/venues" / venue.replace("-", "_")
    files = CALLBACK_VENUE_FILES if is_callback(venue) else VENUE_FILES
    assert {path.name for path in folder.iterdir() if path.is_file()} == files


def venue_words(text: str) -> set[str]:
    """Names of venues that appear in a file's code (docstrings and comments may give examples)."""
    strings = {
        node.value
        for node in nodes(text)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value
    }
    return strings & set(VENUE_NAMES)


def test_no_other_part_of_a_stage_knows_a_venue_by_name() -> None:
    """Simulated and replayed venues and test data speak a venue's protocol, so they may name it."""
    free = ("gateway/venues/", "gateway/servers/", "risk/brokers/", "tickd/app/", "tickd/testing/")
    for path in sources():
        if not path.startswith(free):
            assert not venue_words((ROOT / path).read_text()), f"{path} names a venue"
    assert venue_words("if venue == 'okx': pass") == {"okx"}
    assert venue_words('"""Such as `okx`."""') == set()
