"""The tidiness of every committed file, enforced: names, sizes, docstrings, leftovers.

Method: each rule is a function from a path and a text to its violations; each is shown to fail on a
bad snippet.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("tickd", "gateway", "recorder", "strategy_runner", "risk", "backtest")
# One heart per stage may be longer.
HEARTS = {
    "tickd/bus.py",
    "gateway/session.py",
    "recorder/sink/sink.py",
    "strategy_runner/runner.py",
    "risk/gate.py",
    "backtest/run.py",
}
PYTHON_LINES_MAX, HEART_LINES_MAX, FUNCTION_LINES_MAX = 400, 700, 60
RUST_LINES_MAX = {"native/core/src/": 500, "native/io/src/": 500, "native/py/src/": 300}
COLUMNS_MAX = 100
PRAGMA = re.compile(r"\s*# (noqa|type:|pragma:|pyright:).*$")
EXAMPLE_LINES_MAX = 100
# Words that name nothing.
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}
# Put together here so that this file does not find itself.
LEFTOVER = re.compile(
    r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b"
)
MACHINE = re.compile(
    r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/|(?<![\w./])/(?:work|root)\b(?![\w-])"
)
REGISTRY = re.compile(
    r"(?<!no-emit-)index-url|artifactory|jfrog|nexus\.|files\.pythonhosted|/simple/|registry\.npmjs",
    re.IGNORECASE,
)
# The name of this rule's own subject must be allowed to stand in the rule, and in the ignore files
# of tools.
SELF = "tests/test_tidy.py"

# (rule, path): why this file may differ. An exemption that is no longer needed fails the tests.
EXEMPT = {
    ("functions_are_short", "tickd/testing/events.py"): "one table of event shapes",
    ("unit_tests_do_not_wait", "tests/unit/recorder/embedded/test_supervisor.py"): "a real process",
    (
        "unit_tests_do_not_wait",
        "tests/unit/recorder/sink/test_sink.py",
    ): "a native thread, a socket",
    (
        "unit_tests_do_not_wait",
        "tests/unit/recorder/sink/sink_world.py",
    ): "a native thread, a socket",
    (
        "unit_tests_do_not_wait",
        "tests/unit/recorder/sink/test_delivery.py",
    ): "a native thread, a socket",
    (
        "unit_tests_do_not_wait",
        "tests/unit/recorder/raw/test_recover.py",
    ): "a native writer's groups",
    ("unit_tests_do_not_wait", "tests/unit/recorder/sink/test_sink_kill.py"): "real processes",
    (
        "unit_tests_do_not_wait",
        "tests/unit/recorder/trading/test_trading_kill.py",
    ): "real processes",
}

Rule = Callable[[str, str], Iterator[str]]


@cache
def committed() -> tuple[str, ...]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    paths = [path for path in listing.stdout.decode().split("\0") if path]
    return tuple(path for path in paths if (ROOT / path).is_file())


@lru_cache(maxsize=1)
def nodes(text: str) -> tuple[ast.AST, ...]:
    """Every node of a file, the module first; one rule after the other goes through them."""
    return tuple(ast.walk(ast.parse(text)))


def is_source(path: str) -> bool:
    return path.endswith(".py") and path.split("/", 1)[0] in PACKAGES


def names_mean_something(path: str, _text: str) -> Iterator[str]:
    for part in Path(path).parts:
        if Path(part).stem in EMPTY_NAMES:
            yield f"{path}: {part} names nothing"


def is_documented(text: str) -> bool:
    module = nodes(text)[0]
    return isinstance(module, ast.Module) and bool(ast.get_docstring(module))


def modules_say_what_they_are(path: str, text: str) -> Iterator[str]:
    if path.endswith(".py") and text.strip() and not is_documented(text):
        yield f"{path}: no module docstring"
    if path.endswith(".rs") and "/src/" in path and not text.startswith("//!"):
        yield f"{path}: no module documentation"


def files_are_short(path: str, text: str) -> Iterator[str]:
    lines = text.count("\n")
    limit = 0
    if is_source(path):
        limit = HEART_LINES_MAX if path in HEARTS else PYTHON_LINES_MAX
    elif path.endswith(".rs"):
        # Unit tests at the end of a Rust file do not count.
        lines = text.split("#[cfg(test)]\nmod ", 1)[0].count("\n")
        limit = next((most for home, most in RUST_LINES_MAX.items() if path.startswith(home)), 0)
    elif path.startswith("examples/"):
        limit = EXAMPLE_LINES_MAX
    if limit and lines > limit:
        yield f"{path}: {lines} lines, at most {limit}"


def functions_are_short(path: str, text: str) -> Iterator[str]:
    if not is_source(path):
        return
    for node in nodes(text):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines"


def lines_fit(path: str, text: str) -> Iterator[str]:
    # Of tests, and of Rust, the formatters take care.
    if not (
        is_source(path) or (path.startswith(("benchmarks/", "examples/")) and path.endswith(".py"))
    ):
        return
    for number, line in enumerate(text.splitlines(), 1):
        columns = len(PRAGMA.sub("", line))
        if columns > COLUMNS_MAX and "://" not in line:
            yield f"{path}:{number}: {columns} columns, at most {COLUMNS_MAX}"


def nothing_is_left_over(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if LEFTOVER.search(line):
            yield f"{path}:{number}: leftover: {line.strip()[:60]}"


def no_machine_is_named(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        for rule, what in ((MACHINE, "a machine's path"), (REGISTRY, "a registry")):
            if rule.search(line):
                yield f"{path}:{number}: {what}: {line.strip()[:80]}"


def no_test_mocks_our_classes(path: str, text: str) -> Iterator[str]:
    if not (path.startswith("tests/") and path.endswith(".py")):
        return
    for node in nodes(text):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.Name):
            names = [node.id]
        if any("unittest.mock" in name or name in {"MagicMock", "AsyncMock"} for name in names):
            yield f"{path}: mocks; use tickd.testing"


def unit_tests_do_not_wait(path: str, text: str) -> Iterator[str]:
    if not (path.startswith("tests/unit/") and path.endswith(".py")):
        return
    virtual = "run_virtual" in text or "VirtualLoop" in text
    for node in nodes(text):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name == "time.sleep":
            yield f"{path}:{node.lineno}: {name}"
        waits = bool(node.args) and ast.unparse(node.args[0]) != "0"
        if name == "asyncio.sleep" and waits and not virtual:
            yield f"{path}:{node.lineno}: waits in real time; use run_virtual or ManualClock"


def security_rules_are_silenced_with_a_reason(path: str, text: str) -> Iterator[str]:
    """Ruff's S rules are on everywhere but in tests and benchmarks; who knows better says why."""
    if not path.endswith(".py"):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if SILENCED_SECURITY.search(line):
            yield f"{path}:{number}: a security rule is silenced without a reason"


RULES: list[Rule] = [
    names_mean_something,
    modules_say_what_they_are,
    files_are_short,
    functions_are_short,
    lines_fit,
    nothing_is_left_over,
    no_machine_is_named,
    no_test_mocks_our_classes,
    unit_tests_do_not_wait,
    security_rules_are_silenced_with_a_reason,
]

# The rule codes, and nothing behind them.
SILENCED_SECURITY = re.compile(r"#\s*no" + r"qa:\s*(?:[A-Z]+\d+,\s*)*S\d{3}(?:,\s*[A-Z]+\d+)*\s*$")
LONG_FUNCTION = '"""M."""\ndef f():\n' + "    x = 1\n" * FUNCTION_LINES_MAX
WORK, HOME = "/wo" + "rk/main", "/ro" + "ot/.cache"
# (rule, path, snippet, whether it breaks the rule)
SNIPPETS: list[tuple[Rule, str, str, bool]] = [
    (names_mean_something, "tickd/utils.py", "", True),
    (names_mean_something, "gateway/common/a.py", "", True),
    (names_mean_something, "gateway/baseline.py", "", False),
    (modules_say_what_they_are, "tickd/a.py", "x = 1\n", True),
    (modules_say_what_they_are, "native/core/src/a.rs", "use b;\n", True),
    (modules_say_what_they_are, "native/core/src/a.rs", "//! What it is.\n", False),
    (files_are_short, "tickd/a.py", "\n" * 401, True),
    (files_are_short, "recorder/sink/sink.py", "\n" * 600, False),
    (files_are_short, "recorder/sink/sink.py", "\n" * 701, True),
    (files_are_short, "native/core/src/a.rs", "\n" * 501, True),
    (files_are_short, "native/core/src/a.rs", "\n#[cfg(test)]\nmod tests {" + "\n" * 501, False),
    (files_are_short, "examples/a.py", "\n" * 101, True),
    (functions_are_short, "tickd/a.py", LONG_FUNCTION, True),
    (lines_fit, "tickd/a.py", "x" * 101, True),
    (lines_fit, "docs/a.md", "x" * 500, False),
    (nothing_is_left_over, "tickd/a.py", "# TO" + "DO later", True),
    (nothing_is_left_over, "tickd/a.py", "mastodonTO" + "DOx", False),
    (no_machine_is_named, "docs/a.md", f"see {WORK}", True),
    (no_machine_is_named, "docs/a.md", f"see {HOME}", True),
    (no_machine_is_named, "docs/a.md", "pip install --index" + "-url https://x", True),
    (no_machine_is_named, "docs/a.md", "docs/work/root.md and a/root/b", False),
    (no_test_mocks_our_classes, "tests/a.py", "from unittest import mock", True),
    (no_test_mocks_our_classes, "tests/a.py", "x = MagicMock()", True),
    (no_test_mocks_our_classes, "tests/a.py", "x = 'MagicMock'", False),
    (unit_tests_do_not_wait, "tests/unit/a.py", "time.sleep(1)", True),
    (unit_tests_do_not_wait, "tests/unit/a.py", "await asyncio.sleep(0.1)", True),
    (unit_tests_do_not_wait, "tests/unit/a.py", "await asyncio.sleep(0)", False),
    (unit_tests_do_not_wait, "tests/unit/a.py", "run_virtual(asyncio.sleep(9))", False),
    (unit_tests_do_not_wait, "tests/integration/a.py", "await asyncio.sleep(0.1)", False),
    (security_rules_are_silenced_with_a_reason, "risk/a.py", "x = 1  # no" + "qa: S105", True),
    (security_rules_are_silenced_with_a_reason, "risk/a.py", "x  # no" + "qa: E501, S105", True),
    (security_rules_are_silenced_with_a_reason, "risk/a.py", "x  # no" + "qa: S105 - dice", False),
    (security_rules_are_silenced_with_a_reason, "risk/a.py", "x = 1  # no" + "qa: SIM115", False),
]


@cache
def text_of(path: str) -> str:
    try:
        return (ROOT / path).read_text()
    except UnicodeDecodeError:  # recorded wire data
        return ""


@cache
def violations() -> dict[Rule, list[str]]:
    found: dict[Rule, list[str]] = {rule: [] for rule in RULES}
    for path in committed():
        for rule in RULES:
            if path == SELF and rule is no_machine_is_named:
                continue
            if (rule.__name__, path) not in EXEMPT:
                found[rule] += rule(path, text_of(path))
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_obeys(rule: Rule) -> None:
    assert not violations()[rule], "\n".join(violations()[rule])


@pytest.mark.parametrize(("name", "path"), list(EXEMPT))
def test_exemption_is_still_needed(name: str, path: str) -> None:
    (rule,) = (each for each in RULES if each.__name__ == name)
    assert list(rule(path, text_of(path))), f"{path} obeys {name} now: remove its exemption"


@pytest.mark.parametrize(("rule", "path", "snippet", "breaks"), SNIPPETS)
def test_rule_sees_what_it_is_for(rule: Rule, path: str, snippet: str, breaks: bool) -> None:
    assert bool(list(rule(path, snippet))) is breaks


def test_every_rule_has_a_snippet_that_breaks_it() -> None:
    assert {rule for rule, _, _, breaks in SNIPPETS if breaks} == set(RULES)
