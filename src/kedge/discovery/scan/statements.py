"""Statements that calls run: SQL in constants, variables and loops, and statements built by calls."""

from __future__ import annotations

from collections.abc import Iterator

from kedge.discovery import ir
from kedge.discovery.scan.calling import called_name
from kedge.discovery.scan.resolver import Resolver
from kedge.discovery.scan.scopes import Binding, Scope
from kedge.discovery.scan.sql import built_change, change_in, graph_change_in, saver_store
from kedge.discovery.scan.values import Library

_GRAPHS = {"neo4j", "falkordb", "memgraph", "kuzu"}


class Statements:
    """Tells which statements change data."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver

    def changes(self, node: ir.Expression, scope: Scope, store: str, line: int) -> Iterator[tuple[str, str]]:
        """Yield the stores and tables that a statement changes, for a handle to `store`; nothing if it only reads.

        A variable that is assigned several times is read at its last assignment before `line`.
        """
        for expression, at in self._alternatives(node, scope, line):
            text = self.resolver.folder.fold(expression, at)
            if isinstance(text, str):
                change = change_in(text)
                if change is not None:
                    yield saver_store(store, change.table), change.table
                elif store in _GRAPHS and graph_change_in(text):
                    yield store, ""
            elif self._is_built(expression, at):
                yield store, ""

    def _is_built(self, node: ir.Expression, scope: Scope) -> bool:
        if isinstance(node, ir.Call) and called_name(node) == "from_statement" and node.arguments:
            node = node.arguments[0]
        return any(isinstance(value, Library) and built_change(value.path) for value in self.resolver.eval(node, scope))

    def _alternatives(self, node: ir.Expression, scope: Scope, line: int) -> list[tuple[ir.Expression, Scope]]:
        if isinstance(node, ir.Name):
            bindings = [each for each in scope.bindings.get(node.id, ()) if each.kind in {"value", "item"}]
            before = [each for each in bindings if each.expression is not None and each.expression.line <= line]
            last = (before or bindings)[-1:]
            if last:
                return self._of_binding(last[0], scope, line)
        if isinstance(node, ir.Choice):
            return [each for option in node.options for each in self._alternatives(option, scope, line)]
        if isinstance(node, ir.Call) and node.arguments and self.resolver.folder.fold(node, scope) is None:
            inner = self.resolver.follow(node.arguments[0], scope)
            if isinstance(inner, ir.Text | ir.Template):
                return [(inner, scope)]
        return [(node, scope)]

    def _of_binding(self, binding: Binding, scope: Scope, line: int) -> list[tuple[ir.Expression, Scope]]:
        expression = binding.expression
        if expression is None:
            return []
        if binding.kind == "item":
            items = self.resolver.follow(expression, scope)
            return [(part, scope) for item in _items(items) for part in _parts(item, binding.keys)]
        if binding.keys:
            return [(part, scope) for part in _parts(self.resolver.follow(expression, scope), binding.keys)]
        if isinstance(expression, ir.Name) and expression.line < line:
            return self._alternatives(expression, scope, expression.line)
        return [(expression, scope)]


def _items(node: ir.Expression) -> tuple[ir.Expression, ...]:
    return node.items if isinstance(node, ir.Sequence) else ()


def _parts(node: ir.Expression, keys: tuple[int | str, ...]) -> list[ir.Expression]:
    """Return the part of a literal that some keys lead to, if it is there: `q` of `for q, n in [("DELETE …", 1)]`."""
    for key in keys:
        items = _items(node)
        if not isinstance(key, int) or key >= len(items):
            return []
        node = items[key]
    return [node]
