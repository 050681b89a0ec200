"""Functions whose results a decorator caches in the memory of the process."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from kedge.discovery import ir
from kedge.discovery.scan.local.facts import Facts
from kedge.discovery.scan.local.words import MACHINERY, last_name, makes_object, names, words
from kedge.discovery.sites import Evidence, Site

_DECORATORS = names("functions", "decorators")
_SOURCES = names("functions", "decorator_modules")
_PURE = names("functions", "pure_packages")
_REMOTE = names("functions", "remote")
_FILES = names("functions", "file_readers")
_OWN_FILES = frozenset(("__file__", "__package__", "__name__", "resources", "files", "pkgutil"))
"""Names by which code finds the files of its own package, which change with the code only."""
_LOOKED_INTO = 3
"""Calls, one inside the other, that are followed for what a function asks."""


def cache_sites(modules: list[tuple[ir.Module, Facts]]) -> Iterator[Site]:
    """Find cached functions whose result depends on a store, a server or a file."""
    for module, top in modules:
        if module.language != "python":
            continue
        outside, renamed = _outside(module.body), _renamed(module.body)
        functions = {scope.name: scope for scope in top.all() if scope.kind == "function"}
        for scope in functions.values():
            node = scope.node
            if not isinstance(node, ir.Function) or not any(
                _caches(each, outside, renamed) for each in node.decorators
            ):
                continue
            why = _asks(scope, functions, outside, _LOOKED_INTO)
            if why is not None and not _makes_handles(scope):
                evidence = Evidence(f"the result of {last_name(why.function)}() is kept", module.path, why.line)
                yield Site(
                    module.path,
                    node.line,
                    "bind",
                    "proc-cache",
                    "volatile",
                    scope.shown,
                    evidence=(evidence,),
                    target=node.name,
                )


def _outside(body: tuple[ir.Statement, ...]) -> dict[str, str]:
    """Names that a module imports from elsewhere than the standard library, and from where; the decorators' too."""
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ir.Import) and not node.level:
            found |= {each.alias: node.module for each in node.names}
            if node.alias:
                found[node.alias] = node.module
        elif isinstance(node, ir.Try | ir.Branch):
            arms = [node.body, *node.handlers] if isinstance(node, ir.Try) else [arm.body for arm in node.arms]
            for arm in arms:
                found |= _outside(arm)
    return found


def _renamed(body: tuple[ir.Statement, ...]) -> dict[str, str]:
    """Names that a module imports under another name, and what they are in their own module."""
    imported = (each for node in body if isinstance(node, ir.Import) for each in node.names)
    return {each.alias: each.name for each in imported if each.alias != each.name}


def _caches(decorator: ir.Expression, outside: dict[str, str], renamed: dict[str, str]) -> bool:
    called = decorator.function if isinstance(decorator, ir.Call) else decorator
    if renamed.get(last_name(called), last_name(called)) not in _DECORATORS:
        return False
    return outside.get(_root(called), "") in _SOURCES


def _root(node: ir.Expression) -> str:
    while isinstance(node, ir.Attribute | ir.Call | ir.Index):
        node = node.function if isinstance(node, ir.Call) else node.value
    return node.id if isinstance(node, ir.Name) else ""


def _asks(scope: Facts, functions: dict[str, Facts], outside: dict[str, str], depth: int) -> ir.Call | None:
    """Return a call that asks something outside the process and depends on it."""
    node = scope.node
    parameters = isinstance(node, ir.Function) and any(each.name not in ("self", "cls") for each in node.parameters)
    for inner in scope.all():
        for call in inner.calls:
            name, root = last_name(call.function), _root(call.function)
            source = outside.get(root, "").partition(".")[0]
            if (
                isinstance(call.function, ir.Attribute)
                and name in _REMOTE
                and source not in sys.stdlib_module_names - {"urllib"}
            ):
                return call
            if name in _FILES and parameters and _OWN_FILES.isdisjoint(inner.loads):
                return call
            foreign = source and source not in sys.stdlib_module_names and source not in _PURE
            if foreign and parameters and isinstance(call.function, ir.Attribute) and not _computes(name):
                return call
            if depth and root in functions and functions[root] is not scope and isinstance(call.function, ir.Name):
                found = _asks(functions[root], functions, outside, depth - 1)
                if found is not None:
                    return call
    return None


def _computes(name: str) -> bool:
    return next(iter(words(name)), "") in ("compile", "decode", "encode", "escape", "format", "parse", "quote")


def _makes_handles(scope: Facts) -> bool:
    """Whether a function returns clients, settings or other machinery, and no data."""
    node = scope.node
    if isinstance(node, ir.Function) and not MACHINERY.isdisjoint(words(node.name)):
        return True
    made = [
        isinstance(value, ir.Call)
        and (makes_object(name := last_name(value.function)) or name[:1].isupper() or name.startswith("from_"))
        for value in scope.returns
    ]
    return bool(made) and all(made)
