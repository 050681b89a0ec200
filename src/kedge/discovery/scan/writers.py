"""Functions of the repository that write: a call of one in another module is a write too.

A function is a writer if it hands what it is given to a write: an argument of the write, or what it writes to, is made
of a parameter or is the instance itself (active records), or was given to the constructor of its instance. Its calls in
other modules are sites, if all that they can call are writers, but not those of a method by another of the same
instance. A function that hands its parameters on to a writer of its own module is a writer as well, in a bounded number
of rounds.

A function that runs a statement which it is given is no writer of this kind: it is a site if a caller gives it a
statement that writes, and so are such calls by other functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kedge.discovery import ir
from kedge.discovery.scan.arguments import parameter_argument
from kedge.discovery.scan.callers import is_super
from kedge.discovery.scan.calling import called_name
from kedge.discovery.scan.matching import Finding, Matcher, Runner
from kedge.discovery.scan.opening import handles_in
from kedge.discovery.scan.resolver import Resolver
from kedge.discovery.scan.scopes import CallSite, Scope
from kedge.discovery.scan.values import FunctionOf, Handle, union
from kedge.discovery.sites import Evidence

_ROUNDS = 3


class Writers:
    """Finds the calls of functions that write."""

    def __init__(self, resolver: Resolver, matcher: Matcher) -> None:
        self.resolver = resolver
        self.matcher = matcher
        self._facts: dict[int, tuple[set[str], dict[int, list[ir.Call]]]] = {}

    def _hands_on(self, call: ir.Call | None, scope: Scope) -> bool:
        """Whether a function hands on what it is given; its names and chains are read once."""
        if call is None or scope.function is None:
            return False
        if id(scope) not in self._facts:
            self._facts[id(scope)] = (_given_names(scope), _chains(scope))
        names, chains = self._facts[id(scope)]
        return hands_on(call, scope, names, chains.get(id(call), ()))

    def statements(self) -> Iterator[list[Finding]]:
        """Yield the findings where a statement is given to a function that runs it."""
        waiting = list(self.matcher.runners)
        seen = {(id(runner.finding.scope), runner.parameter) for runner in waiting}
        for _ in range(_ROUNDS):
            following = []
            for runner in waiting:
                for site, argument in self._given(runner.finding.scope, runner.parameter):
                    found = replace(runner.finding, scope=site.scope, line=site.call.line, guard=site.guard)
                    changed = list(self.matcher.statement(found, argument, site.call))[:1]
                    following += [] if changed else self.matcher.runners_of(found, argument)
                    yield from self._run(runner, changed, site)
            waiting = [each for each in following if (id(each.finding.scope), each.parameter) not in seen]
            seen.update((id(each.finding.scope), each.parameter) for each in waiting)

    def _run(self, runner: Runner, changed: list[Finding], site: CallSite) -> Iterator[list[Finding]]:
        """Yield the function that runs a statement, and the call that gives it unless that is around the function."""
        inner = runner.finding
        for found in changed:
            given = Evidence("a statement that writes is given here", site.scope.module.path, site.call.line)
            yield [replace(inner, store=found.store, evidence=(*inner.evidence, given))]
            if not _encloses(site.scope, inner.scope):
                through = Evidence(f"{inner.scope.name} runs the statement", inner.scope.module.path, inner.line)
                yield [replace(found, evidence=(*found.evidence, through))]

    def _given(self, scope: Scope, name: str) -> Iterator[tuple[CallSite, ir.Expression]]:
        """Yield the calls of a function with the argument that they give to a parameter."""
        position = self.resolver.callers.position(scope, name)
        if position is None:
            return
        for site in self._calls(scope):
            argument = parameter_argument(site.call, self.resolver.callers.positional(scope), position)
            if argument is not None:
                yield site, argument

    def _calls(self, scope: Scope) -> Iterator[CallSite]:
        for site in self.resolver.callers.named(scope.own_name):
            values = self.resolver.callees(site.call, site.scope)
            if any(isinstance(value, FunctionOf) and value.scope is scope for value in values):
                yield site

    def calls(self, writes: Iterable[Finding]) -> Iterator[list[Finding]]:
        """Yield the findings of calls, in other modules, of the functions that make some writes."""
        runners = {id(_named(runner.finding.scope)) for runner in self.matcher.runners}
        writers: dict[int, list[Finding]] = {}
        names: dict[str, None] = {}
        for write in writes:
            scope = _named(write.scope)
            if scope is not None and id(scope) not in runners and self._hands_on(write.call, scope):
                writers.setdefault(id(scope), []).append(replace(write, scope=scope))
                names.setdefault(scope.own_name)
        done: set[int] = set()
        for _ in range(_ROUNDS):
            added: dict[str, None] = {}
            for site in (site for name in names for site in self.resolver.callers.named(name)):
                found = self._through(site, writers) if id(site) not in done else []
                if not found:
                    continue
                done.add(id(site))
                if site.scope.module is not found[0][0].module:
                    yield [finding for _, finding in found]
                    continue
                scope = _named(site.scope)
                if scope is not None and id(scope) not in writers and self._hands_on(site.call, scope):
                    writers[id(scope)] = [replace(finding, scope=scope) for _, finding in found]
                    added.setdefault(scope.own_name)
            names = added

    def _through(self, site: CallSite, writers: dict[int, list[Finding]]) -> list[tuple[Scope, Finding]]:
        """Return what a call writes through the writers that it can call, each with the writer."""
        found: list[tuple[Scope, Finding]] = []
        if is_super(site.call) or _is_own(site.call):
            return found
        called = self.resolver.callees(site.call, site.scope)
        functions = [value for value in called if isinstance(value, FunctionOf)]
        if not all(id(value.scope) in writers for value in functions):
            return found
        for value in functions:
            for write in self._given_stores(site, writers.get(id(value.scope), [])):
                place = Evidence(f"{value.scope.name} writes to {write.store}", value.scope.module.path, write.line)
                call = Evidence(f"calls {value.scope.name}", site.scope.module.path, site.call.line)
                finding = replace(
                    write,
                    scope=site.scope,
                    line=site.call.line,
                    guard=site.guard,
                    call=site.call,
                    evidence=(call, place, *write.evidence[1:3]),
                )
                found.append((value.scope, finding))
        return found

    def _given_stores(self, site: CallSite, writes: list[Finding]) -> Iterator[Finding]:
        """Yield writes; of several stores in one place, as callers give them, those that this call gives.

        A call that gives a store which is not known is no site: those of other callers say nothing of it.
        """
        places: dict[tuple[str, int], list[Finding]] = {}
        for write in writes:
            places.setdefault(write.place, []).append(write)
        several = any(len({each.store for each in group}) > 1 for group in places.values())
        handles = self._handles(site) if several else ()
        for group in places.values():
            if len({each.store for each in group}) == 1:
                yield from group
                continue
            given = [each for each in group if each.store in {handle.store for handle in handles}]
            given = given or self._written(handles, group[0])
            yield from given or (() if _is_given(group[0]) else group)

    def _handles(self, site: CallSite) -> tuple[Handle, ...]:
        arguments = (*site.call.arguments, *(word.value for word in site.call.keywords))
        return handles_in(union(*(self.resolver.eval(argument, site.scope) for argument in arguments)))

    def _written(self, handles: tuple[Handle, ...], write: Finding) -> list[Finding]:
        """Return a write to each of some handles that have the method which writes."""
        name = called_name(write.call) if write.call is not None else ""
        fitting = [handle for handle in handles if self.resolver.rules.methods("write", handle.type, name)]
        return [
            replace(write, store=handle.store, kind=handle.kind, target=handle.target, origin=handle.origin)
            for handle in fitting
        ]


def _is_given(write: Finding) -> bool:
    """Whether the store of a write comes from what its function is given."""
    node: ir.Expression | None = write.call
    while isinstance(node, ir.Call | ir.Attribute | ir.Index):
        node = node.function if isinstance(node, ir.Call) else node.value
    return isinstance(node, ir.Name) and node.id in _given_names(write.scope) - {"self"}


def _encloses(outer: Scope, scope: Scope) -> bool:
    """Whether a function or class is defined inside of another function."""
    inner = scope.parent
    while inner is not None and inner is not outer:
        inner = inner.parent
    return inner is outer and outer.kind == "function"


def _is_own(call: ir.Call) -> bool:
    """Whether a method calls another of its own instance or class."""
    return isinstance(call.function, ir.Attribute) and _is_self(call.function.value)


def _named(scope: Scope) -> Scope | None:
    """Return the function with a name that a write stands in."""
    inner: Scope | None = scope
    while inner is not None and inner.kind == "function" and not inner.own_name:
        inner = inner.parent
    return inner if inner is not None and inner.kind == "function" else None


def hands_on(call: ir.Call, scope: Scope, names: set[str], outer: Iterable[ir.Call]) -> bool:
    """Whether a call, or one that it is chained to, has an argument or an object that is made of a parameter."""
    if any(_mentions(argument, names) for each in outer for argument in each.arguments):
        return True
    node: ir.Expression = call
    while isinstance(node, ir.Call | ir.Attribute | ir.Index):
        if any(_mentions(argument, names) or _is_set_up_by_caller(argument, scope) for argument in _given_to(node)):
            return True
        if _is_set_up_by_caller(node, scope):
            return True
        node = node.function if isinstance(node, ir.Call) else node.value
    return isinstance(node, ir.Name) and node.id in names - {"self"}


def _given_to(node: ir.Call | ir.Attribute | ir.Index) -> tuple[ir.Expression, ...]:
    """Return the arguments of a call, or the key of an item."""
    if isinstance(node, ir.Call):
        return (*node.arguments, *(word.value for word in node.keywords))
    return (node.key,) if isinstance(node, ir.Index) else ()


def _is_set_up_by_caller(node: ir.Expression, scope: Scope) -> bool:
    """Whether an attribute of an instance was given to its constructor: a client, a name, an address."""
    owner = scope.owner()
    if owner is None or not isinstance(node, ir.Attribute) or not _is_self(node.value):
        return False
    for binding in owner.attributes.get(node.name, ()):
        function = binding.scope.function
        if function is not None and function.name in {"__init__", "constructor"} and binding.expression is not None:
            given = {parameter.name for parameter in function.parameters} - {"self", ""}
            if _mentions(binding.expression, given):
                return True
    return False


def _given_names(scope: Scope) -> set[str]:
    """Return the names of what a function is given, and of what it makes of that; `self` too."""
    names = {name for name, bound in scope.bindings.items() if any(each.kind == "parameter" for each in bound)}
    names.add("self")
    for _ in range(2):
        names.update(
            name
            for name, bound in scope.bindings.items()
            for each in bound
            if each.kind in {"value", "item", "enter"}
            and each.expression is not None
            and _mentions(each.expression, names)
        )
    return names


def _chains(scope: Scope) -> dict[int, list[ir.Call]]:
    """Return by call those that are chained to it: `db.insert(t).values(x)` for `db.insert(t)`."""
    found: dict[int, list[ir.Call]] = {}
    for site in scope.calls:
        node: ir.Expression = site.call.function
        while isinstance(node, ir.Call | ir.Attribute):
            if isinstance(node, ir.Call):
                found.setdefault(id(node), []).append(site.call)
            node = node.function if isinstance(node, ir.Call) else node.value
    return found


def _mentions(node: ir.Expression, names: set[str], depth: int = 6) -> bool:
    """Whether an argument is made of one of some names; an attribute of `self` is not the instance itself."""
    if isinstance(node, ir.Name):
        return node.id in names
    if isinstance(node, ir.Attribute) and _is_self(node.value):
        return False
    return depth > 0 and any(_mentions(part, names, depth - 1) for part in _parts(node))


def _parts(node: ir.Expression) -> tuple[ir.Expression, ...]:
    """Return what a value is made of. The name of a function is none of it, the object of a method is."""
    match node:
        case ir.Call():
            inner = (node.function.value,) if isinstance(node.function, ir.Attribute) else ()
            return (*inner, *node.arguments, *(word.value for word in node.keywords))
        case ir.Attribute() | ir.Spread():
            return (node.value,)
        case ir.Index():
            return (node.value, node.key)
        case ir.Binary():
            return (node.left, node.right)
        case ir.Sequence():
            return node.items
        case ir.Choice():
            return node.options
        case ir.Template() | ir.Other():
            return node.parts
        case ir.Mapping():
            return tuple(value for _, value in node.items)
        case ir.Comprehension():
            return (node.element, *(values for _, values in node.loops))
        case _:
            return ()


def _is_self(node: ir.Expression) -> bool:
    return isinstance(node, ir.Name) and node.id in {"self", "cls"}
