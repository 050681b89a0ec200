"""Rules applied to calls and members: which store a call opens, and of which type its value is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeGuard

from kedge.discovery import ir
from kedge.discovery.scan.arguments import argument_of, property_of
from kedge.discovery.scan.rules import LONGEST_TEXT, Argument, Condition, Member, Rule
from kedge.discovery.scan.scopes import Scope
from kedge.discovery.scan.values import LONGEST, Box, Handle, Library, Method, Value, Values
from kedge.discovery.sites import StateKind

if TYPE_CHECKING:
    from kedge.discovery.scan.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Opened:
    """What a rule says of one call, refined by its arguments."""

    rule: Rule
    store: str
    kind: StateKind
    gives: str
    target: str


class Opening:
    """Applies the rules for types, handles and members."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.rules = resolver.rules
        self._annotated: dict[str, Values] = {}

    # ------------------------------------------------------------ rules

    def pick(self, rules: Iterable[Rule], call: ir.Call, scope: Scope) -> Rule | None:
        """Return the first rule whose conditions a call meets."""
        for rule in rules:
            if all(self.holds(test, call, scope) for test in rule.only) and not any(
                self.holds(test, call, scope) for test in rule.unless
            ):
                return rule
        return None

    def holds(self, test: Condition, call: ir.Call, scope: Scope) -> bool:
        """Whether a condition holds for a call. What cannot be seen holds for nothing but `present = false`."""
        if test.imports and not scope.module.imports(test.imports):
            return False
        if test.argument is None:
            return True
        node = self.argument(call, test.argument, scope)
        return any(self._passes(test, each, scope) for each in self._options(node, scope))

    def _options(self, node: ir.Expression | None, scope: Scope) -> list[ir.Expression | None]:
        """Return what an argument can be: the options of a choice."""
        if node is None:
            return [None]
        node = self.resolver.follow(node, scope)
        return [each for option in node.options for each in self._options(option, scope)] if _is_open(node) else [node]

    def _passes(self, test: Condition, node: ir.Expression | None, scope: Scope) -> bool:
        if node is not None and test.field:
            node = property_of(node, test.field, lambda inner: self.resolver.follow(inner, scope))
            node = self.resolver.follow(node, scope) if node is not None else None
        given = node is not None and not (isinstance(node, ir.Constant) and node.value is None)
        if test.present is not None and given is not test.present:
            return False
        if test.equals is None and not test.matches:
            return True
        if node is None:
            return False
        folded = self.resolver.folder.described(node, scope)
        if test.equals is not None:
            return folded == test.equals and isinstance(folded, bool) == isinstance(test.equals, bool)
        return isinstance(folded, str) and any(
            re.search(test.matches, text) for text in _readings(folded[:LONGEST_TEXT])
        )

    def argument(self, call: ir.Call, argument: Argument, scope: Scope) -> ir.Expression | None:
        """Return an argument of a call."""
        return argument_of(call, argument, lambda node: self.resolver.follow(node, scope))

    def opened(self, rule: Rule, call: ir.Call, scope: Scope) -> Opened:
        """Return what a rule says of a call."""
        store, kind, gives = rule.store, rule.kind, rule.gives
        for test in rule.when:
            if self.holds(test, call, scope):
                store, kind, gives = test.store or store, test.kind or kind, test.gives or gives
                break
        handle = self.handle_in(rule, call, scope)
        if handle is not None:
            kind = handle.kind
            store = handle.store if rule in self.rules.tables["type"] else store
        target = ""
        if rule.target is not None and (node := self.argument(call, rule.target, scope)) is not None:
            target = self.resolver.folder.text(node, scope)
        return Opened(rule, store, kind or "config", gives, target or (handle.target if handle else ""))

    def handle_in(self, rule: Rule, call: ir.Call, scope: Scope) -> Handle | None:
        """Return the handle in the argument that a rule names, for types and handles that rest on another."""
        if rule.argument is None:
            return None
        node = self.argument(call, rule.argument, scope)
        values = self.resolver.eval(node, scope) if node is not None else ()
        handles = [value for value in values if isinstance(value, Handle)]
        if not handles:
            return None
        kinds = {handle.kind for handle in handles}
        return handles[0] if len(kinds) == 1 else replace(handles[0], kind="config")

    # ------------------------------------------------------------ values

    def called(self, value: Library, call: ir.Call, scope: Scope) -> Values:
        """Return what a call of a library's name gives."""
        for table in ("bind", "type"):
            rule = self.pick(self.rules.calls(table, value.path), call, scope)
            if rule is not None:
                return self._handles(rule, value.result(), call, scope)
        return (value.result(),) if len(value.path) < LONGEST else ()

    def _handles(self, rule: Rule, plain: Value, call: ir.Call, scope: Scope) -> Values:
        opened = self.opened(rule, call, scope)
        if not opened.gives:
            return (plain,)
        origin = (scope.module.path, call.line)
        return (Handle(opened.gives, opened.store, opened.kind, opened.target, origin, rule.confidence),)

    def named(self, value: Library) -> Values:
        """Return what an imported name is: a handle, where a rule says that the name itself is one."""
        for rule in self.rules.calls("value", value.path):
            return (Handle(rule.gives, rule.store, rule.kind or "config"),)
        return (value,)

    def attribute(self, value: Library) -> Values:
        """Return the value of an attribute of a library's value, which may be of a type that a rule names."""
        if "()." not in value.path:
            return self.named(value)
        for rule in self.rules.calls("type", value.path):
            return (Handle(rule.gives, rule.store, rule.kind or "config", confidence="medium"),)
        return (value,)

    def annotated(self, path: str) -> Values:
        """Return an instance of a library's class that only an annotation or base class tells of."""
        found = self._annotated.get(path)
        if found is None:
            found = (Library(path).result(),)
            for table in ("bind", "type"):
                rule = next((rule for rule in self.rules.calls(table, path) if rule.gives), None)
                if rule is not None:
                    kind = "config" if rule.when else rule.kind or "config"
                    found = (Handle(rule.gives, rule.store, kind, confidence="medium"),)
                    break
            self._annotated[path] = found
        return found

    def member(self, handle: Handle, name: str, target: str = "") -> Values:
        """Return a member of a handle, `[]` and `with` too."""
        entry = self.rules.member(handle.type, name)
        if entry is None and name.isidentifier():
            entry = self.rules.member(handle.type, "*")
        if entry is None:
            return () if name in {"[]", "with", "iter", "()"} else (Method(handle, name),)
        return _of_entry(entry, handle, target)

    def method(self, value: Method, call: ir.Call, scope: Scope) -> Values:
        """Return what a method of a handle gives."""
        rule = self.pick(self.rules.methods("bind", value.handle.type, value.name), call, scope)
        if rule is not None:
            return self._handles(rule, value, call, scope)
        kind = value.handle.type
        entry = self.rules.member(kind, value.name) or self.rules.member(kind, "*()")
        if entry is None:
            return ()
        target = ""
        if entry.target is not None and (node := self.argument(call, entry.target, scope)) is not None:
            target = self.resolver.folder.text(node, scope)
        return _of_entry(entry, value.handle, target)


def _of_entry(entry: Member, handle: Handle, target: str) -> Values:
    if entry.gives == "self":
        return (handle,)
    return (replace(handle, type=entry.gives, target=target or handle.target),)


def handles_in(values: Values) -> tuple[Handle, ...]:
    """Return the handles among values, those in containers too."""
    inner = tuple(each for value in values if isinstance(value, Box) for each in value.all())
    return tuple(value for value in (*values, *inner) if isinstance(value, Handle))


def _readings(text: str) -> list[str]:
    """Return a text; for one that is the name of a setting, also that name from each of its words on.

    >>> _readings("{MY_POSTGRES_URL}")
    ['{MY_POSTGRES_URL}', 'my_postgres_url', 'postgres_url', 'url']
    """
    if not (text.startswith("{") and text.endswith("}")) or text == "{}":
        return [text]
    words = text[1:-1].lower().split("_")
    return [text, *("_".join(words[number:]) for number in range(len(words)))]


def _is_open(node: ir.Expression) -> TypeGuard[ir.Choice]:
    return isinstance(node, ir.Choice) and node.operator != "and"
