"""TOML into frozen structs: strict, with errors an operator can act on.

Every stage owns its struct (`msgspec.Struct(frozen=True, forbid_unknown_fields=True,
kw_only=True)`), `tickd/app` composes them. This module reads one file and the mapping it is given,
never the process's environment.

A field of type `Secret` is written `{ file = "…" }`, `{ credential = "name" }` or
`{ env = "NAME" }`, never as plain text; one of type `LateSecret` the same without `env`.
"""

from __future__ import annotations

import json
import re
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from tickd.errors import ConfigError
from tickd.late_secrets import LateSecret
from tickd.secrets import (
    HIDDEN,
    Secret,
    secret_from_credential,
    secret_from_env,
    secret_from_file,
)
from tickd.toml_faults import toml_fault

__all__ = ["CONFIG_BYTES_MAX", "dump", "load", "load_each", "parse"]

T = TypeVar("T", bound=msgspec.Struct)

CONFIG_BYTES_MAX: Final = 1 << 20
# TICKD__NODE__STATE_DIR=/x overrides node.state_dir; two underscores separate the parts of the key.
ENV_PREFIX: Final = "TICKD__"
_SPACE: Final = re.compile(r"\s")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]+)`")
_MISSING: Final = re.compile(r"required field `([^`]+)`")
_AT: Final = re.compile(r"(?s)(.*?)(?: - at `(?:key in )?\$\.?([^`]*)`)?$")


def load(path: str | Path, into: type[T], environment: Mapping[str, str] | None = None) -> T:
    """Return the configuration of a file.

    Args: `environment`: TICKD__SECTION__KEY overrides, what `{ env = … }` secrets are read
    from, and where systemd put credentials.
    Raises ConfigError: unreadable, too big, not TOML, unknown or missing key, wrong type, broken
    relation.
    """
    return parse(_content(Path(path)), into, source=str(path), environment=environment)


def parse(
    content: bytes,
    into: type[T],
    *,
    source: str = "configuration",
    environment: Mapping[str, str] | None = None,
) -> T:
    """Return the configuration in `content`; arguments and errors as `load`."""
    env = environment if environment is not None else {}
    tree = _tree(content, source)
    return _converted(tree, into, source, env, _override(tree, env, source))


def load_each(
    path: str | Path, table: str, into: type[T], environment: Mapping[str, str]
) -> Iterator[tuple[str, T | ConfigError]]:
    """Yield the name of every `[[table]]` with itself, or with why it is refused.

    Nothing else of the file is looked at, and one table spoils no other. Args: `into`: a struct
    with one field, which takes one table. Raises ConfigError: no file, no TOML, no such tables.
    """
    (field,) = into.__struct_fields__
    tree = _tree(_content(Path(path)), str(path))
    entries = tree.get(table, [])
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ConfigError(f"{path}: {table} is no list of tables", hint=f"[[{table}]]")
    for number, entry in enumerate(entries):
        name = str(entry.get("name") or f"{table}[{number}]")
        try:
            yield name, _converted({field: entry}, into, str(path), environment, {})
        except ConfigError as error:
            yield name, error


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    if len(content) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{file}: longer than {CONFIG_BYTES_MAX} bytes")
    return content


def _tree(content: bytes, source: str) -> dict[str, Any]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8 text at byte {error.start}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        fault, hint = toml_fault(error, text), "a text stands in quotes; a secret in its own file"
        raise ConfigError(f"{source}: {fault}", hint=hint) from error


def _converted(
    tree: dict[str, Any],
    into: type[T],
    source: str,
    env: Mapping[str, str],
    overridden: Mapping[str, str],
) -> T:
    hints: list[str | None] = []

    def secret(kind: type, value: object) -> object:
        try:
            return _late(value, env) if kind is LateSecret else _secret(kind, value, env)
        except ConfigError as error:
            hints.append(error.hint)
            raise ValueError(str(error)) from error  # msgspec adds where it stands

    try:
        return msgspec.convert(tree, into, dec_hook=secret)
    except msgspec.ValidationError as error:
        explained = _explain(str(error), into, source, overridden)
        if hints:
            explained.hint = hints[-1]
        raise explained from error


def dump(config: msgspec.Struct) -> str:
    """Return the resolved configuration as TOML; secrets show as `***`, unset keys as comments."""
    lines: list[str] = []
    _dump_table(config, "", lines)
    return "\n".join(lines).strip() + "\n"


def _override(tree: dict[str, Any], env: Mapping[str, str], source: str) -> dict[str, str]:
    """Put overrides into `tree`; return which key came from which variable."""
    overridden: dict[str, str] = {}
    for name in sorted(env):
        if not name.startswith(ENV_PREFIX):
            continue
        parts = name[len(ENV_PREFIX) :].lower().split("__")
        table = tree
        for part in parts[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{source}: {name} reaches into {part!r}, which is no table")
            table = inner
        table[parts[-1]] = _scalar(env[name])
        overridden[".".join(parts)] = name
    return overridden


def _scalar(text: str) -> object:
    """Read a TOML value; what is none is a string, so that paths and names need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _secret(kind: type, value: object, env: Mapping[str, str]) -> object:
    if kind is not Secret:
        raise ConfigError(f"no way to read a {kind.__name__}")
    return _secret_of(value, env)


def _secret_of(value: object, env: Mapping[str, str]) -> Secret:
    match value:
        case {"file": str(path), **rest} if not rest:
            return _named(path, lambda: secret_from_file(path))
        case {"env": str(name), **rest} if not rest:
            return _named(name, lambda: secret_from_env(name, env))
        case {"credential": str(name), **rest} if not rest:
            return _named(name, lambda: secret_from_credential(name, env))
    raise ConfigError(
        "a secret is not written here",
        hint='{ file = "…" }, { credential = "name" } or { env = "NAME" }',
    )


def _named(name: str, read: Callable[[], Secret]) -> Secret:
    """What `read` gives; a name of several words may be the secret itself, and is not repeated."""
    try:
        return read()
    except ConfigError as error:
        if not _SPACE.search(name):
            raise
        words = str(error).replace(name, HIDDEN)
        # None: what was replaced must not be found as the cause.
        raise ConfigError(words, hint="the name of the secret, not the secret itself") from None


def _late(value: object, env: Mapping[str, str]) -> LateSecret:
    """Raises ConfigError: it is not written as one. What cannot be read, its user is told."""
    match value:
        case {"file": str(), **rest} | {"credential": str(), **rest} if not rest:
            try:
                return LateSecret(_secret_of(value, env))
            except ConfigError as error:
                return LateSecret(error)
    raise ConfigError(
        "a secret is not written here", hint='{ file = "…" } or { credential = "name" }'
    )


def _split(message: str) -> tuple[str, str]:
    match = _AT.fullmatch(message)
    return (match[1], match[2] or "") if match else (message, "")


def _explain(message: str, into: type, source: str, overridden: Mapping[str, str]) -> ConfigError:
    what, where = _split(message)
    hint: str | None = None
    if unknown := _UNKNOWN.search(what):
        table = where
        where = f"{where}.{unknown[1]}".lstrip(".")
        what = "unknown key"
        if names := _fields(into, table):
            hint = "allowed here: " + ", ".join(names)
    elif missing := _MISSING.search(what):
        where = f"{where}.{missing[1]}".lstrip(".")
        what = "required key is missing"
    elif what.startswith("Invalid value") and (tags := _tags(into, where)):
        hint = "known: " + ", ".join(tags)
    origins = [
        name for key, name in overridden.items() if key == where or key.startswith(f"{where}.")
    ]
    origin = f" (from {', '.join(origins)})" if origins and where else ""
    return ConfigError(f"{source}: {where or 'top level'}{origin}: {_lower(what)}", hint=hint)


def _fields(into: type, table: str) -> tuple[str, ...]:
    """Names allowed in `table`."""
    names = {
        field.encode_name
        for kind in _kinds(into, table)
        if issubclass(kind, msgspec.Struct)
        for field in msgspec.structs.fields(kind)
    }
    return tuple(sorted(names))


def _tags(into: type, where: str) -> tuple[str, ...]:
    """Values of a key that says which struct a table is."""
    table, _, key = where.rpartition(".")
    shapes = [
        kind.__struct_config__ for kind in _kinds(into, table) if issubclass(kind, msgspec.Struct)
    ]
    return tuple(sorted(str(shape.tag) for shape in shapes if shape.tag_field == key and shape.tag))


def _kinds(into: type, table: str) -> set[type]:
    """What may stand at `table`, a dotted path with `[…]` for list entries."""
    candidates = {into}
    for part in filter(None, re.split(r"\.|(?=\[)", table)):
        below: set[type] = set()
        for kind in candidates:
            if part.startswith("["):
                below.add(kind)
            elif issubclass(kind, msgspec.Struct) and part in kind.__struct_fields__:
                below.update(_structs(get_type_hints(kind)[part]))
        candidates = below
    return candidates


def _structs(annotation: Any) -> Iterator[type]:
    """The structs inside an annotation: a list's, an optional's, a mapping's."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, list, tuple, dict):
        for inner in get_args(annotation):
            yield from _structs(inner)


def _dump_table(struct: msgspec.Struct, path: str, lines: list[str]) -> None:
    """Scalars first, then tables, then lists of tables, as TOML wants it."""
    below: list[tuple[str, object]] = []
    shape = struct.__struct_config__
    if shape.tag_field is not None:
        lines.append(f"{shape.tag_field} = {_value(shape.tag)}")
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        key = field.encode_name
        if isinstance(value, msgspec.Struct) or _tables(value):
            below.append((f"{path}.{key}".lstrip("."), value))
        elif value is None:
            lines.append(f"# {key} is not set")
        else:
            lines.append(f"{key} = {_value(value)}")
    for name, value in below:
        if isinstance(value, msgspec.Struct):
            lines.extend(("", f"[{name}]"))
            _dump_table(value, name, lines)
        else:
            for entry in _tables(value):
                lines.extend(("", f"[[{name}]]"))
                _dump_table(entry, name, lines)


def _tables(value: object) -> tuple[msgspec.Struct, ...]:
    if not isinstance(value, (list, tuple)):
        return ()
    return tuple(entry for entry in value if isinstance(entry, msgspec.Struct))


def _value(value: object) -> str:
    if isinstance(value, (Secret, LateSecret)):
        return f'"{HIDDEN}"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, Mapping):
        return (
            "{ "
            + ", ".join(f"{_value(key)} = {_value(inner)}" for key, inner in value.items())
            + " }"
        )
    if isinstance(value, float):
        return repr(value)
    # JSON's strings, numbers and booleans are TOML's, too.
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
