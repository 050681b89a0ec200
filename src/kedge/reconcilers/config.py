"""Configuration of reconcilers in `kedge.toml`.

It is a file, not a table of the database: write access to the database must not allow anybody to run commands on the
machine that rolls back. The commands are reviewed with the rest of that machine's configuration.
"""

import os
import tomllib
from pathlib import Path
from string import Template

import msgspec

from kedge.errors import InvalidValue
from kedge.ports.reconciler import Reconciler
from kedge.reconcilers.http import HttpReconciler
from kedge.reconcilers.shell import ShellReconciler

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


def read_config(path: Path) -> dict[str, Reconciler]:
    """Return the reconcilers of a `kedge.toml`, by name; `${NAME}` in a header is an environment variable."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidValue(f"{path} is not valid TOML: {error}") from None
    tables = document.get("reconcilers", {})
    unknown = sorted(document.keys() - {"reconcilers"})
    if unknown or not isinstance(tables, dict):
        wrong = ", ".join(unknown) or (repr(tables) if isinstance(tables, int | float) else "reconcilers = …")
        raise InvalidValue(f"{path} has the unknown content {wrong}; it may hold [reconcilers.NAME] tables only")
    return {name: _reconciler(f"{path}: the reconciler {name!r}", table) for name, table in tables.items()}


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
        raise InvalidValue(f"{where} is not valid: {error}; give {needs}") from None


def _filled(where: str, name: str, text: str) -> str:
    try:
        return Template(text).substitute(os.environ)
    except KeyError as error:
        raise InvalidValue(f"{where} uses the environment variable {error}, which is not set; set it") from None
    except ValueError as error:
        raise InvalidValue(f"{where} has an invalid header {name!r}: {error}; write $$ for a dollar sign") from None
