"""Reads and writes of files in the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from kedge.discovery import ir
from kedge.discovery.scan.local.paths import Paths, parameters, settled
from kedge.discovery.scan.local.words import last_name, names
from kedge.discovery.scan.scopes import Scope

_OPENERS = names("files", "openers")
_WRITES_RECEIVER = names("files", "writes_receiver")
_READS_RECEIVER = names("files", "reads_receiver")
_LISTS_RECEIVER = names("files", "lists_receiver")
_WRITES_FIRST = names("files", "writes_first")
_READS_FIRST = names("files", "reads_first")
_LISTS_FIRST = names("files", "lists_first")
_ARRAY_WRITERS = frozenset(("save", "savez", "savez_compressed"))
_PATH_ARGUMENTS = ("path_or_buf", "path", "file", "fname")
_COPIERS = ("shutil", "fs", "promises", "fsp")
_ARRAYS = frozenset(("np", "numpy"))
_DUMPERS = frozenset(("joblib", "torch"))
_COPIES = names("files", "copies")
_PASSING = re.compile(r"^(?:<tmp>|https?:|/dev/|/proc/)|\.(?:lock|pid|tmp|log)$")
"""Paths of nothing that lasts, and of logs."""
_RENAMES = names("files", "renames")


@dataclass(slots=True, frozen=True)
class Access:
    """A read or write of a file. `through`: the function of the repository that does it for this one.

    `inner`: the access in the function that is called, for one whose path was handed on.
    """

    what: Literal["read", "write"]
    pattern: str
    line: int
    scope: Scope
    through: Scope | None = None
    inner: Access | None = None


class Accesses:
    """Finds reads and writes."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def of(self, scope: Scope) -> list[Access]:
        """Return what one function reads and writes itself. What is renamed was written under its new name."""
        found: list[Access] = []
        renamed: list[tuple[str, str, int]] = []
        for site in scope.calls:
            found += self._call(site.call, scope)
            if (pair := self._rename(site.call, scope)) is not None:
                renamed.append((*pair, site.call.line))
        for old, new, line in renamed:
            written = [each for each in found if each.what == "write" and each.pattern == old]
            found = [each for each in found if each not in written]
            found += [replace(each, pattern=new) for each in written] or [Access("write", new, line, scope)]
        return [each for each in found if not is_passing(each.pattern)]

    def _call(self, call: ir.Call, scope: Scope) -> Iterator[Access]:
        name = last_name(call.function)
        receiver = call.function.value if isinstance(call.function, ir.Attribute) else None
        if name == "open":
            yield from self._open(call, receiver, scope)
        elif receiver is not None and name in _WRITES_RECEIVER:
            yield from self._access("write", receiver, call.line, scope)
        elif receiver is not None and name in _READS_RECEIVER:
            yield from self._access("read", receiver, call.line, scope)
        elif receiver is not None and name in _LISTS_RECEIVER and last_name(receiver) != "glob":
            yield from self._listed(call, receiver, scope)
        else:
            yield from self._argument(call, name, last_name(receiver), scope)

    def _argument(self, call: ir.Call, name: str, library: str, scope: Scope) -> Iterator[Access]:
        """What a function reads or writes that takes the path as an argument."""
        arguments = call.arguments or tuple(each.value for each in call.keywords if each.name in _PATH_ARGUMENTS)
        if not arguments:
            return
        if name in _WRITES_FIRST or (name in _ARRAY_WRITERS and library in _ARRAYS):
            yield from self._access("write", arguments[0], call.line, scope)
        elif name in _READS_FIRST or (name == "load" and library in _ARRAYS | _DUMPERS):
            yield from self._access("read", arguments[0], call.line, scope)
        elif name in _LISTS_FIRST:
            yield from self._access("read", arguments[0], call.line, scope, "/**")
        elif name in ("glob", "iglob") or (name in _COPIES and library in _COPIERS):
            yield from self._access("read", arguments[0], call.line, scope)
        elif name in ("dump", "save") and library in _DUMPERS and len(arguments) > 1:
            yield from self._access("write", arguments[1], call.line, scope)

    def _open(self, call: ir.Call, receiver: ir.Expression | None, scope: Scope) -> Iterator[Access]:
        arguments = list(call.arguments)
        if receiver is None or last_name(receiver) in _OPENERS:
            path = arguments.pop(0) if arguments else _keyword(call, "file")
        else:
            path = receiver
        mode = arguments[0] if arguments else _keyword(call, "mode")
        if path is None or not (mode is None or isinstance(mode, ir.Text)):
            return
        text = "r" if mode is None else mode.value
        if set(text) & set("wax+"):
            yield from self._access("write", path, call.line, scope)
        if set(text) & set("r+"):
            yield from self._access("read", path, call.line, scope)

    def _listed(self, call: ir.Call, receiver: ir.Expression, scope: Scope) -> Iterator[Access]:
        name = last_name(call.function)
        inner = self._paths.of(call.arguments[0], scope) if call.arguments else None
        below = "**" if name == "rglob" else inner.replace("**/", "") if inner and not parameters(inner) else "*"
        yield from self._access("read", receiver, call.line, scope, f"/{below}")

    def _access(
        self, what: Literal["read", "write"], path: ir.Expression, line: int, scope: Scope, below: str = ""
    ) -> Iterator[Access]:
        pattern = self._paths.of(path, scope)
        if pattern is not None:
            yield Access(what, settled(pattern + below), line, scope)

    def _rename(self, call: ir.Call, scope: Scope) -> tuple[str, str] | None:
        name = last_name(call.function)
        if name not in _RENAMES or not isinstance(call.function, ir.Attribute):
            return None
        receiver = call.function.value
        match call.arguments:
            case (source, target) if last_name(receiver) in ("os", "shutil", "fs", "promises", "fsp", "aiofiles"):
                old = self._paths.of(source, scope)
            case (target,) if not call.keywords and not isinstance(target, ir.Text):
                old = self._paths.of(receiver, scope)
            case _:
                return None
        new = self._paths.of(target, scope)
        return None if new is None or is_passing(new) else (settled(old or ""), settled(new))


def is_passing(pattern: str) -> bool:
    """Whether a path is that of nothing that lasts, or of a log."""
    return _PASSING.search(pattern) is not None


def _keyword(call: ir.Call, *names: str) -> ir.Expression | None:
    return next((each.value for each in call.keywords if each.name in names), None)
