"""The command line: what it lists, explains and answers with an exit code."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest
from docstring_parser import parse

from tickd.app import cli
from tickd.app.exit_codes import ExitCode
from tickd.errors import Action, ConfigError, TickdError
from tickd.native import VERSION


def test_help_lists_every_command_and_shows_examples(command) -> None:
    ended = command("--help")
    assert ended.code == 0
    for name in cli.COMMANDS:
        assert f"│ {name} " in ended.out
    assert "Examples:" in ended.out
    assert "--install-completion" in ended.out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_every_parameter_and_shows_an_example(command, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0
    assert "Example" in ended.out
    assert f"    tickd {name}" in ended.out
    module = import_module(f"tickd.app.commands.{name.replace('-', '_')}")
    function = getattr(module, name.replace("-", "_"))
    explained = {each.arg_name: each.description for each in parse(function.__doc__).params}
    assert set(explained) == set(inspect.signature(function).parameters)
    for parameter, text in explained.items():
        assert (text or "").split()[0] in ended.out, f"{name}: {parameter}"


def test_help_is_wrapped_by_the_terminal_and_offers_no_empty_lists(command, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = command("sim", "--help").out.splitlines()
    text = lines[
        lines.index("Serve a simulated venue that speaks Binance's protocol, on loopback.") :
    ]
    paragraph = text[2 : text.index("", 2)]
    assert len(paragraph) == 2  # and not cut where the source was
    assert "--empty" not in "".join(lines)


def test_a_query_without_the_file_says_how_to_name_it(command, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command("query", "SELECT 1")
    assert ended.code == ExitCode.BAD_CONFIG
    assert "--config" in ended.err


def test_listing_the_commands_imports_none_of_them() -> None:
    listing = (
        "import sys; from tickd.app.cli import build; build()(['--help'], exit_on_error=False); "
    )
    tell = "sys.exit(sum(m.startswith('tickd.app.commands.') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", listing + tell], capture_output=True, check=False)
    assert done.returncode == 0


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tickd", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"tickd {VERSION} (")


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("run",),
        ("inspect", "x", "--nope"),
        ("check", "/nonexistent/tickd.toml"),
        ("serve-replay",),
        ("serve-replay", "x.gz", "--speed", "fast"),
        ("inspect", "/nonexistent"),
        ("inspect", "x", "--frames", "--events"),
        ("sim", "--fault", "nonsense"),
    ],
)
def test_wrong_use_ends_with_2(command, arguments: tuple[str, ...]) -> None:
    ended = command(*arguments)
    assert ended.code == ExitCode.BAD_CONFIG
    assert "Traceback" not in ended.err


def test_expected_failure_is_a_sentence_with_a_hint_and_code_1(command, tmp_path) -> None:
    ended = command("status", tmp_path)
    assert ended.code == ExitCode.FAILED
    assert ended.err.startswith("tickd: no daemon answers at ")
    assert "hint: start one with: tickd run CONFIG" in ended.err


def failing_with(error: BaseException):
    def build(_: str):
        def app(_: list[str], *, result_action: str) -> None:
            raise error

        return app

    return build


def test_expected_error_of_a_task_group_is_reported_as_itself(command, monkeypatch) -> None:
    error = TickdError("the disk is gone", action=Action.FATAL, hint="find it")
    group = BaseExceptionGroup("tasks", [BaseExceptionGroup("inner", [error])])
    monkeypatch.setattr(cli, "build", failing_with(group))
    ended = command()
    assert ended.code == ExitCode.FAILED
    assert ended.err == "tickd: the disk is gone\n  hint: find it\n"


def test_bug_among_expected_errors_is_raised_as_it_is(command, monkeypatch) -> None:
    group = ExceptionGroup("tasks", [ConfigError("expected"), ZeroDivisionError("a bug")])
    monkeypatch.setattr(cli, "build", failing_with(group))
    with pytest.raises(ExceptionGroup) as raised:
        cli.main()
    assert raised.value is group


def test_interrupt_ends_with_130(command, monkeypatch) -> None:
    monkeypatch.setattr(cli, "build", failing_with(KeyboardInterrupt()))
    assert command().code == 130


def test_process_tidies_up_and_keeps_its_exit_code() -> None:
    """The interpreter is not taken down, and yet nothing is left out that others registered."""
    script = """
import atexit, sys
from tickd.app import cli
def build(_):
    def app(_, *, result_action):
        atexit.register(print, "tidied up")
        return 3
    return app
cli.build = build
sys.argv = ["tickd"]
cli.process()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "tidied up\n", "")
