"""What imports bind, and what modules of the repository give: names, re-exports, submodules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.javascript_modules import package_name
from kedge.discovery.scan.scopes import ModuleIndex
from kedge.discovery.scan.values import Library, ModuleOf, Values

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

_REEXPORTS = 30
"""Modules that give a name on to one another after which it is not followed."""


class Exports:
    """Resolves imports and exports."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver

    def imported(self, statement: ir.Import, name: str, module: ModuleIndex) -> Values:
        """Return what an import binds: a name of the module, or the module itself for the name ""."""
        if not module.is_python:
            path = self.resolver.imports.script(module.path, statement.module)
            if path is None:
                package = package_name(statement.module)
                return self.resolver.opening.named(Library(f"{package}:{'' if name == '*' else name}"))
            return self.exported(path, name) if name and name != "*" else (ModuleOf(path),)
        dotted, level = statement.module, statement.level
        if not name and not level and "." in dotted and statement.alias == dotted.partition(".")[0]:
            dotted = statement.alias
        path = self.resolver.imports.python(module.path, dotted, level)
        if path is None:
            return () if level else self._library(dotted, name)
        if not name:
            return (ModuleOf(path),)
        found = self.exported(path, name)
        if not found and not self._is_source(path):
            submodule = self.resolver.imports.python(module.path, f"{dotted}.{name}", level)
            found = (ModuleOf(submodule),) if submodule is not None else ()
        if not found and not level and dotted.partition(".")[0] in self.resolver.rules.packages:
            return self._library(dotted, name)
        return found

    def _library(self, dotted: str, name: str) -> Values:
        return self.resolver.opening.named(Library(f"{dotted}.{name}" if name else dotted))

    def _is_source(self, path: str) -> bool:
        return path in self.resolver.indexes and not path.endswith("__init__.py")

    def exported(self, path: str, name: str, seen: frozenset[str] = frozenset()) -> Values:
        """Return what a module gives under a name: its own, a re-export, or a submodule."""
        index = self.resolver.indexes.get(path)
        if path in seen or len(seen) >= _REEXPORTS:
            return ()
        if index is not None:
            if name in index.exports:
                return self.resolver.eval(index.exports[name], index.top)
            if name in index.top.bindings:
                return self.resolver.bound_in(name, index.top)
            for statement in (*index.reexports, *index.stars):
                if found := self._reexported(statement, name, index, seen | {path}):
                    return found
        if index is None or index.is_python:
            folder = path.removesuffix("/__init__.py") if index is not None else path
            submodule = self.resolver.imports.python_at(f"{folder}/{name}" if folder != "__init__.py" else name)
            if submodule is not None and not self._is_source(path):
                return (ModuleOf(submodule),)
        elif "default" in index.exports and name != "default":
            return self.resolver.members(self.resolver.eval(index.exports["default"], index.top), name)
        return ()

    def _reexported(self, statement: ir.Import, name: str, index: ModuleIndex, seen: frozenset[str]) -> Values:
        names = {each.alias: each.name for each in statement.names}
        wanted = names.get(name, name if "*" in names.values() and name != "default" else None)
        if wanted is None:
            return ()
        find = self.resolver.imports.python if index.is_python else None
        path = (
            find(index.path, statement.module, statement.level)
            if find is not None
            else self.resolver.imports.script(index.path, statement.module)
        )
        if path is not None:
            return self.exported(path, wanted, seen)
        if name not in names:
            return ()
        if index.is_python:
            return ()
        return self.resolver.opening.named(Library(f"{package_name(statement.module)}:{wanted}"))
