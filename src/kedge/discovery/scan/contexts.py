"""Attributes of a context that a framework passes: `ctx.db`, `req.app.locals.redis`.

No code of the repository shows what such a context holds. Where one module alone exports a handle of that name, it is
taken to be that, with medium confidence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kedge.discovery import ir
from kedge.discovery.scan.scopes import Scope
from kedge.discovery.scan.values import Handle, Instance, Values

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver

_CONTEXTS = {"ctx", "context", "c", "req", "request", "app", "fastify", "server", "locals", "event", "deps", "services"}


class Contexts:
    """Finds what attributes of contexts stand for, in JavaScript."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._exporters: dict[str, list[str]] = {}
        for index in resolver.indexes.values():
            if not index.is_python:
                for name in index.exports:
                    self._exporters.setdefault(name, []).append(index.path)

    def value(self, node: ir.Attribute, scope: Scope) -> Values:
        """Return what an attribute of a context is; nothing if no export or several have its name."""
        paths = self._exporters.get(node.name, ())
        if scope.module.is_python or len(paths) != 1 or not _is_context(node.value):
            return ()
        found: list[Handle | Instance] = []
        for value in self.resolver.exports.exported(paths[0], node.name):
            if isinstance(value, Handle):
                found.append(replace(value, confidence="medium" if value.confidence == "high" else value.confidence))
            elif isinstance(value, Instance):
                found.append(value)
        return tuple(found)


def _is_context(node: ir.Expression) -> bool:
    name = node.id if isinstance(node, ir.Name) else node.name if isinstance(node, ir.Attribute) else ""
    return name in _CONTEXTS
