"""Rows that are changed by assignment: the commit after it is the write.

`run = session.get(Run, id); run.status = "done"; session.commit()` names no method that writes. A commit is a site if
an attribute of something that the function was given or has loaded is assigned since the commit before it, and no other
write of that time is given the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kedge.discovery import ir
from kedge.discovery.scan.matching import Finding
from kedge.discovery.scan.resolver import Resolver
from kedge.discovery.scan.scopes import Scope
from kedge.discovery.scan.values import Handle, Library
from kedge.discovery.sites import Evidence


class Updates:
    """Finds the commits that write what was assigned."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver

    def findings(self, commits: Iterable[Finding], writes: Iterable[Finding]) -> Iterator[Finding]:
        """Return those of some commits that write rows, given all other writes."""
        by_scope: dict[int, list[Finding]] = {}
        for commit in commits:
            by_scope.setdefault(id(commit.scope), []).append(commit)
        others: dict[int, list[Finding]] = {}
        for write in writes:
            if id(write.scope) in by_scope:
                others.setdefault(id(write.scope), []).append(write)
        for key, found in by_scope.items():
            assigned = self._assigned(found[0].scope)
            yield from _committed(found, others.get(key, []), assigned) if assigned else ()

    def _assigned(self, scope: Scope) -> list[tuple[ir.Expression, ir.Expression]]:
        """Return the objects that a function changes, each with what it assigns."""
        found = [
            (target.value, node.value)
            for node, at, _ in scope.module.assignments
            if at is scope and node.value is not None
            for target in node.targets
            if isinstance(target, ir.Attribute)
        ]
        for site in scope.calls:
            call = site.call
            if isinstance(call.function, ir.Name) and call.function.id == "setattr" and call.arguments:
                found.append((call.arguments[0], call.arguments[-1]))
        return [(row, value) for row, value in found if self._can_be_row(row, scope)]

    def _can_be_row(self, node: ir.Expression, scope: Scope) -> bool:
        """Whether an object can be a row: one that the function has, and that is not made by a library's class."""
        root = _root(node)
        bound = scope.bindings.get(root, ())
        if root != "self" and not any(each.kind in {"value", "item", "enter", "parameter"} for each in bound):
            return False
        return not any(isinstance(value, Handle) or _is_made(value) for value in self.resolver.eval(node, scope))


def _committed(
    commits: list[Finding], others: list[Finding], assigned: list[tuple[ir.Expression, ir.Expression]]
) -> Iterator[Finding]:
    """Yield the commits of one function after an assignment to a row that no other write is given."""
    before = 0
    for commit in sorted(commits, key=lambda each: each.line):
        beside = [each for each in others if before < each.line <= commit.line]
        changed = [
            (row, value)
            for row, value in assigned
            if before < row.line <= commit.line and not any(_writes(each, row) for each in beside)
        ]
        before = commit.line
        if not changed or commit.call is None:
            continue
        place = Evidence("an attribute of a row is assigned here", commit.scope.module.path, changed[0][0].line)
        given = ir.Call(commit.line, commit.call.function, tuple(part for pair in changed for part in pair))
        yield replace(commit, call=given, evidence=(*commit.evidence, place))


def _root(node: ir.Expression) -> str:
    """Return the name that an attribute or item is of, "" if it is of no name."""
    while isinstance(node, ir.Attribute | ir.Index):
        node = node.value
    return node.id if isinstance(node, ir.Name) else ""


def _writes(write: Finding, row: ir.Expression) -> bool:
    """Whether another write is given a row that was changed, or is made of it, as of a parameter changed before."""
    name = _root(row)
    if write.call is None:
        return False
    parts = [*write.call.arguments, *(word.value for word in write.call.keywords)]
    parts += [item for part in parts if isinstance(part, ir.Sequence) for item in part.items]
    is_parameter = any(each.kind == "parameter" for each in write.scope.bindings.get(name, ()))
    return any(_root(part) == name for part in parts) or (is_parameter and row.line < write.line)


def _is_made(value: object) -> bool:
    """Whether a value is an instance of a library's class, by the name of the class."""
    if not isinstance(value, Library) or not value.path.endswith("()"):
        return False
    return value.path.removesuffix("()").rpartition(".")[2][:1].isupper()
