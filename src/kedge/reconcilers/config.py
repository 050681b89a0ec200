"""Configuration of reconcilers in `kedge.toml`.

It is a file, not a table of the database: write access to the database must not allow anybody to run commands on the
machine that rolls back. The commands are reviewed with the rest of that machine's configuration.
"""

import os
from pathlib import Path
from string import Template

import msgspec

from kedge.errors import InvalidValue
from kedge.ports.reconciler import Reconciler
from kedge.ports.resolver import Resolver
from kedge.reconcilers.http import HttpReconciler
from kedge.reconcilers.resolvers import HttpResolver, ShellResolver
from kedge.reconcilers.shell import ShellReconciler
from kedge.support.toml_files import read_toml
from kedge.support.validation import plain_validation

Command = str | list[str]


class _Shell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    artifacts: str
    observe: Command
    converge: Command
    timeout_seconds: float = 10.0
    deadline_seconds: float = 60.0


class _Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    artifacts: str
    url: str
    converge_url: str | None = None
    method: str = "PUT"
    field: str | None = None
    headers: dict[str, str] = {}
    timeout_seconds: float = 10.0
    deadline_seconds: float = 60.0


class _Resolver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    uris: str
    command: Command = ""
    url: str = ""
    registry: str = ""
    headers: dict[str, str] = {}


def read_config(path: Path) -> dict[str, Reconciler]:
    """Return the reconcilers of a `kedge.toml`, by name; `${NAME}` in a header is an environment variable."""
    tables = _read(path)["reconcilers"]
    return {name: _reconciler(f"{path}: the reconciler {name!r}", table) for name, table in tables.items()}


def read_resolvers(path: Path) -> dict[str, Resolver]:
    """Return the resolvers of a `kedge.toml`, by name."""
    tables = _read(path)["resolvers"]
    return {name: _resolver(f"{path}: the resolver {name!r}", table) for name, table in tables.items()}


def _resolver(where: str, table: object) -> Resolver:
    try:
        given = msgspec.convert(table, _Resolver)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"{where} is not valid: {error}; give uris, and command, url or registry") from None
    if given.command:
        return ShellResolver(given.uris, command=given.command)
    headers = {name: _filled(where, name, text) for name, text in given.headers.items()}
    return HttpResolver(given.uris, url=given.url, registry=given.registry, headers=headers)


def _read(path: Path) -> dict[str, dict[str, object]]:
    document = read_toml(path)
    found = {kind: document.get(kind, {}) for kind in ("reconcilers", "resolvers")}
    unknown = sorted(document.keys() - found.keys() - {"discovery", "readiness"})
    if unknown or not all(isinstance(tables, dict) for tables in found.values()):
        values = [value for value in found.values() if not isinstance(value, dict)]
        wrong = ", ".join(unknown) or (repr(values[0]) if isinstance(values[0], int | float) else "reconcilers = …")
        raise InvalidValue(
            f"{path} has the unknown content {wrong}; use only [reconcilers.NAME] and [resolvers.NAME] tables"
        )
    return found


def _reconciler(where: str, table: object) -> Reconciler:
    by_http = isinstance(table, dict) and "url" in table
    try:
        if by_http:
            http = msgspec.convert(table, _Http)
            headers = {name: _filled(where, name, text) for name, text in http.headers.items()}
            return HttpReconciler(**msgspec.structs.asdict(http) | {"headers": headers})
        return ShellReconciler(**msgspec.structs.asdict(msgspec.convert(table, _Shell)))
    except msgspec.ValidationError as error:
        needs = "artifacts and url" if by_http else "artifacts, observe and converge, or artifacts and url"
        known = (_Http if by_http else _Shell).__struct_fields__
        raise InvalidValue(f"{where} is not valid: {plain_validation(error, known)}; give {needs}") from None


def _filled(where: str, name: str, text: str) -> str:
    try:
        return Template(text).substitute(os.environ)
    except KeyError as error:
        raise InvalidValue(f"{where} uses the environment variable {error}, which is not set; set it") from None
    except ValueError as error:
        raise InvalidValue(f"{where} has an invalid header {name!r}: {error}; write $$ for a dollar sign") from None
