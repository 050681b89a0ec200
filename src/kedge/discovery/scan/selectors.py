"""Selectors: what decides at run time which of several stores is in use, with all alternatives.

A store is selected by the branches around the call that opens it, around the calls of its function, and around the
constructions of its class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kedge.discovery import ir
from kedge.discovery.scan.folding import Setting
from kedge.discovery.scan.matching import Finding
from kedge.discovery.scan.registries import Registries, Taken
from kedge.discovery.scan.resolver import Resolver
from kedge.discovery.scan.scopes import CallSite, Guard, Scope
from kedge.discovery.scan.values import ClassOf, FunctionOf
from kedge.discovery.sites import Selector

_CLIMBS = 5
_COMPARISONS = {"==", "!=", "is", "is not", "in", "not in", "match", "===", "!=="}
_NEGATIVE = {"!=", "is not", "not in", "!=="}
NOTHING = "none"
"""The alternative of a store that is not opened at all."""


@dataclass(frozen=True, slots=True)
class Point:
    """A branch that a setting decides. `key`: the same for all arms of one decision."""

    key: tuple[int, str, str]
    setting: Setting
    value: str | None
    default: bool
    arm: str = ""

    @property
    def says_alone(self) -> bool:
        """Whether the decision selects a store against none, if no other arm opens one.

        An argument that must be given is no choice of a store, nor is what follows a test of the configuration.
        """
        return self.setting.source == "env" or (self.setting.source == "config" and self.arm != "else")


class Selectors:
    """Finds what selects each finding."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.registries = Registries(resolver)
        self._of_scope: dict[int, tuple[Point, ...]] = {}

    def select(self, findings: Iterable[Finding]) -> dict[Finding, Selector]:
        """Return the selectors of those findings that have one."""
        points = {finding: self._points(finding.guard, finding.scope) for finding in findings}
        arms: dict[tuple[int, str, str], dict[str, list[Finding]]] = {}
        for finding, found in points.items():
            for point in found:
                arms.setdefault(point.key, {}).setdefault(point.arm, []).append(finding)
        selectors = {}
        for finding, found in points.items():
            several = (point for point in found if len(arms[point.key]) > 1)
            chosen = next(several, None) or next((point for point in found if point.says_alone), None)
            if chosen is not None:
                selectors[finding] = _selector(finding, chosen, arms[chosen.key])
        return selectors

    # ------------------------------------------------------------ points

    def _points(self, guard: Guard | None, scope: Scope, depth: int = _CLIMBS) -> tuple[Point, ...]:
        """Return the decisions around a call, innermost first."""
        found = list(self._of_guards(guard))
        inner: Scope | None = scope
        while inner is not None:
            found += self._of_guards(inner.guard)
            found += self._from_callers(inner, depth)
            inner = inner.parent if inner.parent is not None and inner.parent.kind != "class" else None
        return tuple(dict.fromkeys(found))

    def _from_callers(self, scope: Scope, depth: int) -> tuple[Point, ...]:
        if scope.kind == "module" or not depth:
            return ()
        known = self._of_scope.get(id(scope))
        if known is not None:
            return known
        self._of_scope[id(scope)] = ()
        found = [
            points
            for site in self._uses(scope)
            if site.scope is not scope and (points := self._points(site.guard, site.scope, depth - 1)) is not None
        ]
        owner = scope.parent if scope.parent is not None and scope.parent.kind == "class" else scope
        found += [self._of_registry(taken, depth) for taken in self.registries.of(owner)]
        agreed = found[0] if found and all(found) else ()
        self._of_scope[id(scope)] = agreed
        return agreed

    def _of_registry(self, taken: Taken, depth: int) -> tuple[Point, ...]:
        """Return the decision of a key by which a class or function is taken from a container, and those around it."""
        site = taken.site
        around = self._points(site.guard, site.scope, depth - 1)
        setting = self._setting(taken.key, site.scope)
        if setting is None:
            return around
        key = (id(site.call), setting.source, setting.name)
        return (Point(key, setting, taken.name, setting.default == taken.name, taken.name), *around)

    def _uses(self, scope: Scope) -> list[CallSite]:
        """Return the calls that bring a function into use: its own, and for a method those that make an instance."""
        callers = self.resolver.callers
        owner = scope.parent
        if owner is None or owner.kind != "class":
            return callers.callers(scope)
        made = [site for site in callers.makers(owner) if site.scope.owner() is not owner]
        return made or [site for site in callers.callers(scope) if site.scope.owner() is not owner]

    def _of_guards(self, guard: Guard | None) -> Iterator[Point]:
        for each in guard.chain() if guard is not None else ():
            node = each.node
            point = self._of_branch(each, node) if isinstance(node, ir.Branch) else self._of_choice(each, node)
            if point is not None:
                yield point

    def _of_branch(self, guard: Guard, node: ir.Branch) -> Point | None:
        arms = node.arms
        tests = [arm.test for arm in arms if arm.test is not None]
        own = arms[guard.arm].test if guard.arm < len(arms) else None
        if own is not None:
            return self._of_test(own, guard.scope)
        others = [found for test in tests if (found := self._of_test(test, guard.scope)) is not None]
        return _otherwise(others) if others else None

    def _of_choice(self, guard: Guard, node: ir.Choice) -> Point | None:
        if node.operator == "if" and node.test is not None:
            point = self._of_test(node.test, guard.scope)
            if point is None or guard.arm == 0:
                return point
            return _otherwise([point])
        if node.operator != "or":
            return None
        for option in node.options[:-1]:
            setting = self.resolver.folder.setting(option, guard.scope) or self._within(option, guard.scope)
            if setting is not None:
                key = (id(node), setting.source, setting.name)
                last = guard.arm == len(node.options) - 1
                return Point(key, setting, None, last, f"option {guard.arm}")
        return None

    def _within(self, node: ir.Expression, scope: Scope) -> Setting | None:
        """Return the setting on which it depends whether a function that is called returns anything."""
        if not isinstance(node, ir.Call):
            return None
        for value in self.resolver.callees(node, scope):
            if isinstance(value, FunctionOf | ClassOf):
                for _, guard in value.scope.returns:
                    for point in self._of_guards(guard):
                        return point.setting
        return None

    def _of_test(self, test: ir.Expression, scope: Scope) -> Point | None:
        """Return the decision that a test makes."""
        match test:
            case ir.Not():
                inner = self._of_test(test.value, scope)
                return None if inner is None else _otherwise([inner])
            case ir.Choice():
                options = (self._of_test(option, scope) for option in test.options)
                return next((option for option in options if option is not None), None)
            case ir.Binary() if test.operator in _COMPARISONS:
                return self._of_comparison(test, scope)
            case ir.Assigned():
                return self._of_test(test.value, scope)
            case ir.Binary():
                return None
            case _:
                followed = self.resolver.follow(test, scope)
                if isinstance(followed, ir.Binary | ir.Not | ir.Choice):
                    return self._of_test(followed, scope)
                setting = self._setting(test, scope)
                return (
                    None if setting is None else Point(_key(scope, setting), setting, None, _is_true(setting.default))
                )

    def _of_comparison(self, test: ir.Binary, scope: Scope) -> Point | None:
        for left, right in ((test.left, test.right), (test.right, test.left)):
            setting = self._setting(left, scope)
            if setting is not None:
                values = right.items if isinstance(right, ir.Sequence) else (right,)
                folded = [self.resolver.folder.fold(value, scope) for value in values]
                negative = test.operator in _NEGATIVE
                value = None if negative or None in folded else "|".join(_text(each) for each in folded)
                default = negative or (setting.default is not None and setting.default in folded)
                return Point(_key(scope, setting), setting, value, default, value or ("not" if negative else ""))
        return None

    def _setting(self, node: ir.Expression, scope: Scope) -> Setting | None:
        """Return the setting that an expression reads; a parameter is what its callers give, else an argument."""
        setting = self.resolver.folder.setting(node, scope)
        if setting is not None or not isinstance(node, ir.Name):
            return setting
        holder: Scope | None = scope
        while holder is not None and node.id not in holder.bindings:
            holder = holder.parent
        if holder is None or holder.function is None:
            return None
        binding = holder.bindings[node.id][0]
        if binding.kind != "parameter" or binding.parameter is None:
            return None
        for argument, at in self.resolver.callers.arguments(holder, binding.parameter):
            if (found := self.resolver.folder.setting(argument, at)) is not None:
                return found
        default = binding.parameter.default
        return Setting("argument", node.id, self.resolver.folder.fold(default, holder) if default is not None else None)


def common(selectors: Iterable[Selector | None]) -> Selector | None:
    """Return the selector that all of some have; its value is open where theirs differ."""
    found = list(dict.fromkeys(selectors))
    first = found[0] if found else None
    if first is None or any(each is None or (each.source, each.name) != (first.source, first.name) for each in found):
        return None
    return first if len(found) == 1 else Selector(first.source, first.name, alternatives=first.alternatives)


def is_live(selector: Selector, environment: Mapping[str, str]) -> bool | None:
    """Return whether an environment puts a site into use, None where it does not say.

    >>> store = Selector("env", "KIND", "a", False, ("x", "y"))
    >>> is_live(store, {"KIND": "a"}), is_live(store, {"KIND": "b"}), is_live(store, {})
    (True, False, None)
    """
    given = environment.get(selector.name)
    if selector.source != "env" or given is None:
        return None
    if selector.value is not None:
        return given.lower() in selector.value.lower().split("|")
    return None


def _otherwise(points: list[Point]) -> Point:
    """Return the arm that is taken if none of some tests holds; the negation of a negation is the test itself."""
    default = not any(point.default for point in points)
    negated = len(points) == 1 and points[0].arm == "else"
    return Point(points[0].key, points[0].setting, None, default, "" if negated else "else")


def _is_true(value: object) -> bool:
    return bool(value) and str(value).lower() not in {"false", "0", "no", "off"}


def _key(scope: Scope, setting: Setting) -> tuple[int, str, str]:
    return (id(scope), setting.source, setting.name)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _selector(finding: Finding, chosen: Point, arms: Mapping[str, list[Finding]]) -> Selector:
    """Return the selector of a finding, with the stores of all arms of the decision."""
    others = [each for found in arms.values() for each in found]
    stores = {each.store for each in others}
    prefix = finding.store.partition(":")[0]
    related = {store for store in stores if store.partition(":")[0] == prefix}
    alternatives = related if len(related) > 1 else stores
    if len(arms) == 1:
        labels = {finding.store, NOTHING}
    elif len(alternatives) > 1:
        labels = alternatives
    else:
        places = {f"{each.store} {each.kind}" for each in others}
        if len(places) == 1:
            places = {f"{each.store} at {each.scope.module.path}:{each.line}" for each in others}
        labels = places
    setting = chosen.setting
    return Selector(setting.source, setting.name, chosen.value, chosen.default, tuple(sorted(labels)))
