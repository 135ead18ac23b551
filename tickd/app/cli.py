"""The `tickd` command.

Names, help and exit codes. Each command lives in its own module and is imported when called.
"""

from __future__ import annotations

import atexit
import inspect
import os
import sys
from contextlib import suppress
from importlib import import_module

from cyclopts import App, Parameter

from tickd.app.asking import AS_WHOM
from tickd.app.exit_codes import ExitCode
from tickd.app.logs import LogConfig, configure_logging
from tickd.errors import ConfigError, TickdError

COMMANDS = {
    "run": "record the venues of a config file until stopped",
    "doctor": "whether this machine can do what a config file asks",
    "demo": "record a simulated market with an embedded ClickHouse and watch it",
    "check": "validate a config file and print the resolved result",
    "plan": "show what a config file subscribes, connection by connection",
    "migrate": "create or update the tables in ClickHouse",
    "status": "ask a running daemon how it is",
    "trace": "where the time of a slow batch went",
    "risk": "whether orders may leave; halt them, arm them again",
    "panic": "cancel everything at the venues, without a daemon",
    "order": "the orders of a running daemon; settle one in doubt",
    "subscribe": "record more with a running daemon",
    "unsubscribe": "record less with a running daemon",
    "reload": "let a running daemon read its file again",
    "top": "watch a running daemon: topics, gaps, strategies, risk",
    "tail": "print the live events of some topics",
    "flight": "the last internal events of a daemon, also of one that has ended",
    "support-bundle": "write what somebody needs who helps into one archive, without secrets",
    "selftest": "measure what this machine can do",
    "gaps": "what is missing and can be asked for again",
    "query": "ask ClickHouse a question in SQL",
    "export": "write recorded rows as parquet, arrow, csv, jsonl or for hftbacktest",
    "inspect": "look into a raw log: segments, frames, events",
    "verify": "prove that raw log, manifest and ClickHouse agree",
    "rebuild": "make ClickHouse equal to the raw log again",
    "spool": "what waits for ClickHouse, and what it refused",
    "ship": "bring sealed segments into object storage, remove old ones that are there",
    "restore": "fetch segments back from object storage",
    "replay": "run strategies over recorded events",
    "serve-replay": "serve captures as the venue they came from, on loopback",
    "sim": "serve a simulated venue, on loopback",
}

EXAMPLES = """
Examples:

    tickd demo --seconds 20
    tickd check tickd.toml && tickd run tickd.toml
    tickd plan tickd.toml --shard 0/4
    tickd subscribe tickd.toml "binance-usdm:*USDT@trade"
    tickd status tickd.toml --topics
    tickd risk kill tickd.toml --reason "prices look wrong"
    tickd query --config tickd.toml "SELECT symbol, count() FROM trades GROUP BY symbol"
    tickd export tickd.toml --topics "trade.*.BTCUSDT" --out btc.parquet
    tickd inspect /var/lib/tickd --events | head
    tickd verify tickd.toml
    tickd ship tickd.toml && tickd restore --config tickd.toml --to /mnt/new

Shell completion: tickd --install-completion
"""


def build(chosen: str = "") -> App:
    """The command line.

    A chosen command is explained by its own docstring, with its own examples; the others by one
    line, so that listing them imports none.
    """
    app = App(
        name="tickd",
        help="A market-data gateway and tick recorder that loses nothing silently.",
        help_epilogue=_examples(chosen) if chosen in COMMANDS else EXAMPLES,
        help_format="plaintext",
        default_parameter=Parameter(negative_iterable=()),
        version=_version,
    )
    for name, help_text in COMMANDS.items():
        path = f"{_module(name)}:{name.replace('-', '_')}"
        app.command(path, name=name, help=_explanation(name) if name == chosen else help_text)
    app.register_install_completion_command()
    return app


def _module(command: str) -> str:
    return f"tickd.app.commands.{command.replace('-', '_')}"


def _docstring(command: str) -> str:
    function = getattr(import_module(_module(command)), command.replace("-", "_"))
    return inspect.getdoc(function) or ""


def _explanation(command: str) -> str:
    """What a command's docstring says before its parameters; each paragraph for any width."""
    text = _docstring(command).partition("\nArgs:")[0].partition("\nExample")[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _examples(command: str) -> str:
    """The examples at the end of a command's docstring."""
    _, _, examples = _docstring(command).partition("\nExample")
    return f"\nExample{examples}\n" if examples else ""


def _version() -> str:
    from tickd.native import BUILD_PROFILE, VERSION  # noqa: PLC0415 - lazy: numpy and all

    return f"tickd {VERSION} ({BUILD_PROFILE})"


def process() -> None:
    """Be the `tickd` process: `main`, with an end that no library's thread can spoil.

    The object stores' threads may touch Python once more after their last answer was taken. One
    that does so while the interpreter is being taken down aborts the process, after a run that went
    well; therefore it is not taken down. What is registered first runs last: by then threads were
    joined and everybody else has tidied up.
    """
    code: int = ExitCode.FAILED

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    atexit.register(leave)
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else ExitCode.FAILED
        raise


def main() -> None:
    """Run the command line; expected failures are one sentence on stderr and an exit code."""
    configure_logging(LogConfig(level="warning"))  # `run` sets what its config file says
    arguments = sys.argv[1:]
    try:
        app = build(next(iter(arguments), ""))
        result = app(arguments, result_action="return_value")
    except TickdError as error:
        sys.exit(_report(error))
    except PermissionError as error:  # of whatever command, wherever it looked
        sys.exit(_report(TickdError(_denied(error), hint=AS_WHOM)))
    except BaseExceptionGroup as group:  # a stage failed inside the daemon's task group
        sys.exit(_report(_first_expected(group)))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(int(result) if isinstance(result, int) else ExitCode.OK)


def _denied(error: PermissionError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _report(error: TickdError) -> ExitCode:
    print(f"tickd: {error}", file=sys.stderr)  # noqa: T201 - the user's terminal is the place
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)  # noqa: T201
    return ExitCode.BAD_CONFIG if isinstance(error, ConfigError) else ExitCode.FAILED


def _first_expected(group: BaseExceptionGroup[BaseException]) -> TickdError:
    """The expected error in a group of nothing else; a bug among them is raised as it is."""
    expected, bugs = group.split(TickdError)
    if bugs is not None or expected is None:
        raise group
    error: BaseException = expected
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TickdError)
    return error
