"""Reconcilers as `kedge.toml` sets them up.

It is a file, and not a table of the database: who can write to the database must not thereby run commands on the
machine that rolls back, and what runs there belongs under review with the rest of that machine's set-up.
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
    """Return the reconcilers that a `kedge.toml` sets up, by name; `${NAME}` in a header is an environment variable."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidValue(f"{path} is no valid TOML: {error}") from None
    tables = document.get("reconcilers", {})
    strange = sorted(document.keys() - {"reconcilers"})
    if strange or not isinstance(tables, dict):
        wrong = ", ".join(strange) or repr(tables)
        raise InvalidValue(f"{path} may have tables [reconcilers.NAME] alone, not {wrong}")
    return {name: _reconciler(f"{path}: the reconciler {name!r}", table) for name, table in tables.items()}


def _reconciler(where: str, table: object) -> Reconciler:
    by_http = isinstance(table, dict) and "url" in table
    try:
        if by_http:
            http = msgspec.convert(table, _Http)
            headers = {name: _filled(where, text) for name, text in http.headers.items()}
            return HttpReconciler(**msgspec.structs.asdict(http) | {"headers": headers})
        return ShellReconciler(**msgspec.structs.asdict(msgspec.convert(table, _Shell)))
    except msgspec.ValidationError as error:
        needs = "artifacts and url" if by_http else "artifacts, observe and converge, or artifacts and url"
        raise InvalidValue(f"{where} does not fit: {error}; it needs {needs}") from None


def _filled(where: str, text: str) -> str:
    try:
        return Template(text).substitute(os.environ)
    except KeyError as error:
        raise InvalidValue(f"{where} wants the environment variable {error}, which is not set") from None
    except ValueError as error:
        raise InvalidValue(f"{where} has the header {text!r}: {error}; write $$ for a dollar sign") from None
