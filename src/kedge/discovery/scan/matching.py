"""Sites of single calls and assignments: rules set against resolved names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from kedge.discovery import ir
from kedge.discovery.scan.calling import called_argument, called_name
from kedge.discovery.scan.classes import decorator_name
from kedge.discovery.scan.opening import handles_in
from kedge.discovery.scan.resolver import Resolver
from kedge.discovery.scan.rules import Rule, Table
from kedge.discovery.scan.scopes import CallSite, Guard, Scope
from kedge.discovery.scan.statements import Statements
from kedge.discovery.scan.values import ClassOf, Handle, Library, Method, Value, Values
from kedge.discovery.sites import Confidence, Evidence, SiteClass, StateKind

RulesOf: TypeAlias = Callable[[Table], Iterable[Rule]]
"""Gives the rules of a table for what is called."""

_INJECTED = {"Injectable", "injectable", "singleton", "Service"}
"""Decorators of classes whose instances a framework makes."""
_FILLING = {
    "from_documents", "from_texts", "from_embeddings", "afrom_documents", "afrom_texts", "afrom_embeddings",
    "fromDocuments", "fromTexts",
}  # fmt: skip
"""Constructors that open a store and put into it what they are given, of LangChain's and LlamaIndex's stores."""
_CLASSES: tuple[tuple[Table, SiteClass], ...] = (("bind", "bind"), ("write", "write"), ("pin", "pin"))


@dataclass(frozen=True, slots=True)
class Finding:
    """A site before its selector is known. `call`: None for an assignment."""

    scope: Scope
    line: int
    site_class: SiteClass
    store: str
    kind: StateKind
    guard: Guard | None = None
    target: str = ""
    origin: tuple[str, int] | None = None
    evidence: tuple[Evidence, ...] = ()
    confidence: Confidence = "high"
    call: ir.Call | None = None
    rule: Rule | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Path and line."""
        return self.scope.module.path, self.line


@dataclass(frozen=True, slots=True)
class Runner:
    """A function that runs a statement which it is given in a parameter."""

    finding: Finding
    parameter: str


def merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield one finding of each class and store of one call; the kind is open where alternatives differ."""
    groups: dict[tuple[SiteClass, Rule | None], dict[str, list[Finding]]] = {}
    for finding in findings:
        by = finding.rule if finding.site_class == "attach" else None  # one call can give several stores
        groups.setdefault((finding.site_class, by), {}).setdefault(finding.store, []).append(finding)
    for stores in groups.values():
        varied = len(stores) > 1
        for alternatives in stores.values():
            found = [each for each in alternatives if each.kind != "config" or each.origin is not None] or alternatives
            first = found[0]
            if len(found) > 1 or varied:
                evidence = tuple(dict.fromkeys(each for finding in found for each in finding.evidence))
                one = len({finding.kind for finding in found}) == 1 and not varied
                first = replace(first, kind=first.kind if one else "config", evidence=evidence[:8])
                if varied and first.confidence == "high":
                    first = replace(first, confidence="medium")
            yield first


class Matcher:
    """Sets rules against the calls and assignments of all modules."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.rules = resolver.rules
        self.statements = Statements(resolver)
        self.runners: list[Runner] = []
        self.commits: list[Finding] = []
        """Commits, which write if a row was changed before."""

    def findings(self) -> Iterator[list[Finding]]:
        """Yield the findings of each call and assignment, in the order of the code; alternatives stand together."""
        for index in self.resolver.indexes.values():
            for scope in index.scopes:
                for site in scope.calls:
                    if found := self.of_call(site):
                        yield found
                if found := self._of_injected(scope):
                    yield found
            for assignment, scope, guard in index.assignments:
                if found := self._of_assignment(assignment, scope, guard):
                    yield found

    def of_call(self, site: CallSite) -> list[Finding]:
        """Return the findings of one call."""
        call, scope = site.call, site.scope
        found: list[Finding] = []
        inner = called_argument(call)
        if inner is not None:
            called = self.resolver.callees(inner, scope) if self._is_candidate(inner) else ()
            for value in called:
                found += self._of_value(value, inner, site)
        elif self._is_candidate(call):
            for value in self.resolver.callees(call, scope):
                found += self._of_value(value, call, site)
        return found

    def _is_candidate(self, call: ir.Call) -> bool:
        return not isinstance(call.function, ir.Attribute) or called_name(call) in self.rules.verbs

    def _of_value(self, value: Value, call: ir.Call, site: CallSite) -> Iterator[Finding]:
        match value:
            case Library():
                path = value.path + "default" if value.path.endswith(":") else value.path
                yield from self._of_rules(None, path, call, site, lambda table: self.rules.calls(table, path))
            case Method():
                kind = value.handle.type
                yield from self._of_rules(
                    value.handle, value.name, call, site, lambda table: self.rules.methods(table, kind, value.name)
                )
            case Handle():
                kind = value.type
                yield from self._of_rules(value, "()", call, site, lambda table: self.rules.methods(table, kind, "()"))
            case ClassOf():
                yield from self._of_subclass(value.scope, call, site)
            case _:
                pass

    def _of_rules(
        self, handle: Handle | None, name: str, call: ir.Call, site: CallSite, rules: RulesOf
    ) -> Iterator[Finding]:
        opening = self.resolver.opening
        for table, site_class in _CLASSES:
            rule = opening.pick(rules(table), call, site.scope)
            if rule is None:
                continue
            if table == "write" and rule.sql is not None:
                yield from self._of_statement(rule, handle, call, site)
            elif table == "write" and rule.assigned:
                self.commits.append(self._finding(rule, "write", handle, name, call, site))
            else:
                yield self._finding(rule, site_class, handle, name, call, site)
            if table == "bind" and called_name(call) in _FILLING:
                yield self._finding(rule, "write", handle, name, call, site)
        for rule in rules("attach"):
            if opening.pick((rule,), call, site.scope) is not None:
                yield from self._attached(rule, handle, call, site)

    def _finding(
        self, rule: Rule, site_class: SiteClass, handle: Handle | None, name: str, call: ir.Call, site: CallSite
    ) -> Finding:
        opened = self.resolver.opening.opened(rule, call, site.scope)
        path = site.scope.module.path
        store, kind, target, origin, confidence = opened.store, opened.kind, opened.target, None, rule.confidence
        evidence: tuple[Evidence, ...] = (Evidence(f"calls {name}", path, call.line),)
        source = self.resolver.import_of(call.function, site.scope) if handle is None else None
        if source is not None:
            evidence = (*evidence, Evidence(f"imported from {source.module}", path, source.line))
        if handle is not None:
            store = opened.store or handle.store
            kind = opened.kind if rule.kind is not None or opened.kind != "config" else handle.kind
            target = target or handle.target
            origin = handle.origin
            confidence = min(confidence, handle.confidence, key=_WORSE.index)
            evidence = (Evidence(f"calls {name} of a value of type {handle.type}", path, call.line), *opened_at(handle))
        return Finding(
            site.scope, call.line, site_class, store, kind, site.guard, target, origin, evidence, confidence, call, rule
        )

    def _of_statement(self, rule: Rule, handle: Handle | None, call: ir.Call, site: CallSite) -> Iterator[Finding]:
        node = self.resolver.opening.argument(call, rule.sql or 0, site.scope)
        if node is None:
            return
        found = self._finding(rule, "write", handle, called_name(call), call, site)
        changed = list(self.statement(found, node, call))
        if not changed:
            self.runners += self.runners_of(found, node)
        yield from changed[:1]

    def statement(self, found: Finding, node: ir.Expression, call: ir.Call) -> Iterator[Finding]:
        """Yield the changes that a statement makes, as findings made from one that stands for the call."""
        for store, table in self.statements.changes(node, found.scope, found.store, call.line):
            evidence = (*found.evidence, Evidence(f"the statement changes {table or 'data'}"))
            yield replace(found, store=store, target=table or found.target, evidence=evidence, call=call)

    def runners_of(self, found: Finding, node: ir.Expression) -> list[Runner]:
        """Return the function that was given a statement in a parameter, if it is one."""
        if not isinstance(node, ir.Name) or isinstance(self.resolver.folder.fold(node, found.scope), str):
            return []
        scope: Scope | None = found.scope
        while scope is not None and node.id not in scope.bindings:
            scope = scope.parent
        if scope is None or not any(binding.kind == "parameter" for binding in scope.bindings[node.id]):
            return []
        return [Runner(replace(found, scope=scope), node.id)]

    def _attached(self, rule: Rule, handle: Handle | None, call: ir.Call, site: CallSite) -> Iterator[Finding]:
        if rule.argument is None:
            yield self._finding(rule, "attach", handle, called_name(call), call, site)
            return
        node = self.resolver.opening.argument(call, rule.argument, site.scope)
        if node is None or is_nothing(self.resolver.follow(node, site.scope)):
            return
        yield from self._given(rule, node, site.scope, call.line, site.guard, call)

    def _given(
        self,
        rule: Rule,
        node: ir.Expression,
        scope: Scope,
        line: int,
        guard: Guard | None,
        call: ir.Call | None = None,
    ) -> Iterator[Finding]:
        """Yield the stores that an expression gives to an agent; what the rule says where it is not known."""
        handles = self.fitting(rule, self.resolver.eval(node, scope))
        path = scope.module.path
        for handle in handles:
            evidence = (Evidence("given to an agent or graph", path, line), *opened_at(handle))
            yield Finding(
                scope, line, "attach", handle.store, handle.kind, guard, handle.target, handle.origin, evidence,
                handle.confidence, call, rule,
            )  # fmt: skip
        if not handles and rule.store:
            evidence = (Evidence("a store that is not known here is given to an agent or graph", path, line),)
            yield Finding(
                scope,
                line,
                "attach",
                rule.store,
                rule.kind or "config",
                guard,
                "",
                None,
                evidence,
                "medium",
                call,
                rule,
            )

    def fitting(self, rule: Rule, values: Values) -> tuple[Handle, ...]:
        """Return the handles among values that are of a type that a rule names."""
        handles = handles_in(values)
        if not rule.types:
            return handles
        return tuple(
            handle for handle in handles if any(name in rule.types for name in self.rules.lineage(handle.type))
        )

    def _of_subclass(self, scope: Scope, call: ir.Call, site: CallSite) -> Iterator[Finding]:
        """Yield the stores that an instance of a class of the repository opens because its base class does."""
        opening = self.resolver.opening
        if scope.module is not site.scope.module:
            yield from self._made(scope, call, site)
        for path in self.resolver.classes.line(scope)[1]:
            rule = opening.pick(self.rules.calls("bind", path), call, site.scope)
            if rule is not None:
                found = self._finding(rule, "bind", None, path, call, site)
                base = Evidence(f"{scope.own_name} inherits from {path}", scope.module.path, scope.node_line)
                yield replace(found, evidence=(*found.evidence, base))

    def _of_injected(self, scope: Scope) -> list[Finding]:
        """Return the stores that a class of JavaScript opens, where a framework and no code makes the instance."""
        node = scope.definition
        if node is None or scope.module.is_python or not node.bases:
            return []
        injected = any(decorator_name(each) in _INJECTED for each in node.decorators)
        call = ir.Call(node.line, ir.Name(node.line, node.name))
        found = self._of_subclass(scope, call, CallSite(call, scope, None))
        return [each for each in found if injected or (each.rule is not None and each.rule.inherited)]

    def _made(self, scope: Scope, call: ir.Call, site: CallSite) -> Iterator[Finding]:
        """Yield the handles that a class of another module gives in place of an instance, by its `__new__`."""
        for handle in handles_in(self.resolver.classes.made(scope)):
            made = Evidence(f"{scope.own_name}() gives a handle to {handle.store}", scope.module.path, scope.node_line)
            yield Finding(
                site.scope, call.line, "bind", handle.store, handle.kind, site.guard, handle.target, handle.origin,
                (made, *opened_at(handle)), handle.confidence, call,
            )  # fmt: skip

    def _of_assignment(self, node: ir.Assign, scope: Scope, guard: Guard | None) -> list[Finding]:
        found: list[Finding] = []
        for target in node.targets:
            if not isinstance(target, ir.Attribute) or node.value is None:
                continue
            for rule in self.rules.attributes.get(target.name, ()):
                if not self._is_on(rule, target, scope):
                    continue
                if not rule.types or self.fitting(rule, self.resolver.eval(node.value, scope)):
                    found += self._given(rule, node.value, scope, node.line, guard)
        return found

    def _is_on(self, rule: Rule, target: ir.Attribute, scope: Scope) -> bool:
        """Whether the object of an assignment is what the rule names: a library's name, or a value of a type."""
        if is_nothing(target.value):
            return False
        values = self.resolver.eval(target.value, scope)
        if rule.calls:
            return any(isinstance(value, Library) and value.path in rule.calls for value in values)
        return not rule.on or any(
            isinstance(value, Handle) and value.type in (rule.on if isinstance(rule.on, tuple) else (rule.on,))
            for value in values
        )


_WORSE: tuple[Confidence, ...] = ("low", "medium", "high")


def opened_at(handle: Handle) -> tuple[Evidence, ...]:
    """Return where a handle was opened, if that is known."""
    if handle.origin is None:
        return ()
    return (Evidence(f"{handle.store} is opened here", handle.origin[0], handle.origin[1]),)


def is_nothing(node: ir.Expression) -> bool:
    """Whether an expression is null or false."""
    return isinstance(node, ir.Constant) and not node.value and node.value != 0
