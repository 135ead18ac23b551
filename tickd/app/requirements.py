"""What a configuration needs beside tickd: the modules of extras, and credentials of accounts.

It imports modules and reads keys; it connects to nothing. The daemon records without any of it:
this is for `tickd check` and `tickd doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Final, NamedTuple

from risk.brokers.registry import find
from tickd.app.config import Config
from tickd.app.findings import Finding, fail, ok
from tickd.errors import ConfigError, TickdError

__all__ = ["Missing", "check_requirements", "missing", "require_everything"]

_EXPORTERS: Final = {
    name: f"opentelemetry.exporter.otlp.proto.{name}.trace_exporter" for name in ("http", "grpc")
}


class Missing(NamedTuple):
    """What a key asks for and is not there."""

    key: str
    words: str
    remedy: str


def missing(config: Config) -> list[Missing]:
    """Everything that is not there. Raises nothing."""
    return [*_modules(config), *_credentials(config)]


def require_everything(config: Config) -> None:
    """Raises ConfigError: something is not there; it names all of it."""
    found = missing(config)
    if found:
        words = "; ".join(f"{each.key}: {each.words}" for each in found)
        remedies = dict.fromkeys(each.remedy for each in found if each.remedy)
        raise ConfigError(words, hint="; ".join(remedies) or None)


def check_requirements(config: Config) -> list[Finding]:
    """The same for the doctor; nothing where nothing is asked for."""
    found = missing(config)
    faults = {each.key for each in found}
    fine = [
        ok(f"needs {key}", "installed")
        for key in dict.fromkeys(key for key, _, _ in _wanted(config))
        if key not in faults
    ]
    return [*fine, *(fail(f"needs {each.key}", each.words, each.remedy) for each in found)]


def _wanted(config: Config) -> Iterator[tuple[str, str, str]]:
    """(key, module, extra)."""
    tracing = config.tracing
    if tracing.enabled and tracing.endpoint:
        yield "tracing.endpoint", "opentelemetry.sdk.trace", "tracing"
        yield "tracing.endpoint", _EXPORTERS[tracing.protocol], "tracing"
    if config.postgres.enabled:
        yield "postgres.enabled", "asyncpg", "postgres"


def _modules(config: Config) -> Iterator[Missing]:
    told: set[str] = set()
    for key, module, extra in _wanted(config):
        try:
            import_module(module)
        except ImportError as error:
            if key not in told:
                words = f"module {error.name or module} is not installed"
                yield Missing(key, words, f"pip install 'tickd[{extra}]'")
            told.add(key)


def _credentials(config: Config) -> Iterator[Missing]:
    for account in config.accounts:
        try:
            find(account).check(account)
        except TickdError as error:
            yield Missing(f"accounts.{account.name}", str(error), error.hint or "")
