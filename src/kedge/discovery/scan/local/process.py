"""State in the memory of a process: names of modules and attributes of classes and instances."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from kedge.discovery import ir
from kedge.discovery.scan.local.facts import Facts, Mutation
from kedge.discovery.scan.local.words import (
    CACHES,
    COLLECTED,
    VALUES,
    keeps_state,
    last_name,
    lives_shortly,
    makes_object,
    names,
    names_state,
    words,
)
from kedge.discovery.scan.program import Program
from kedge.discovery.sites import Evidence, Site

_CONTAINERS = names("containers", "types")
_CONSTRUCTORS = names("containers", "constructors")
_FIELDS = names("containers", "fields")
_FIELD_MAKERS = names("containers", "field_makers")
_SCREENS = ("Screen", "Widget", "App", "Component", "Console", "View", "Panel", "Dialog", "Window", "Frame")


_INTERFACE = re.compile(r"(?:^|/)(?:components|hooks|ui)/|\.[jt]sx$")
"""Files of a user interface, whose memory is that of a page."""


def container(value: ir.Expression | None) -> bool:
    """Whether a value is an empty or filled container that can change."""
    if isinstance(value, ir.Mapping | ir.Comprehension):
        return True
    if isinstance(value, ir.Sequence):
        return value.kind != "tuple"
    if isinstance(value, ir.Call):
        name = last_name(value.function)
        if name == "field":
            return any(
                each.name == "default_factory" and last_name(each.value) in _CONTAINERS for each in value.keywords
            )
        return name in _CONTAINERS
    return False


def is_actor(node: ir.Class) -> bool:
    """Whether a class is a Ray actor, whose objects live in a process of their own."""
    called = (each.function if isinstance(each, ir.Call) else each for each in node.decorators)
    return any(last_name(each) == "remote" for each in called)


def process_sites(modules: Sequence[tuple[ir.Module, Facts]]) -> Iterator[Site]:
    """Find module names, class attributes and instance attributes that hold state."""
    shared = _shared_mutations(modules)
    for module, top in modules:
        if _INTERFACE.search(module.path):
            continue
        yield from _module_names(module, top, shared)
        for scope in top.all():
            if isinstance(scope.node, ir.Class) and not is_actor(scope.node):
                yield from _attributes(module, scope)


# ---------------------------------------------------------------- names of modules


_Changes: TypeAlias = "list[tuple[Facts, Mutation]]"


def _shared_mutations(modules: Sequence[tuple[ir.Module, Facts]]) -> dict[tuple[str, str], _Changes]:
    """Changes, in other modules, of names that they import: by the last part of the module's name, and the name."""
    found: dict[tuple[str, str], _Changes] = {}
    for module, top in modules:
        imported: dict[str, tuple[str, str]] = {}
        for node in module.body:
            if isinstance(node, ir.Import):
                stem = node.module.rpartition("/")[2].rpartition(".")[2] or node.module
                imported |= {each.alias: (stem, each.name) for each in node.names}
        for name, changes in _changes(top).items() if imported else ():
            if name in imported:
                shared = [each for each in changes if each[1].change not in ("rebind", "augment")]
                found.setdefault(imported[name], []).extend(shared)
    return found


def _module_names(module: ir.Module, top: Facts, shared: dict[tuple[str, str], _Changes]) -> Iterator[Site]:
    stem = module.path.rpartition("/")[2].partition(".")[0]
    stem = module.path.split("/")[-2] if stem in ("__init__", "index") and "/" in module.path else stem
    inside = _changes(top)
    used = _uses(top)
    done: set[str] = set()
    for node in _top_assignments(module.body):
        name = node.targets[0].id if isinstance(node.targets[0], ir.Name) else ""
        if name in done or not names_state(name):
            continue
        done.add(name)
        outside = shared.get((stem, name), [])
        changes = inside.get(name, []) + outside
        if _holds_data(name, node.value, changes):
            changed = sum(each.change != "rebind" for _, each in changes)
            if outside or used[name] > changed or _taken(changes):
                data = [each for each in changes if stores_data(*each, scalar=not container(node.value))]
                yield _site(module, node.line, "<module>", name, data[0])


def _holds_data(name: str, value: ir.Expression | None, changes: _Changes) -> bool:
    """Whether functions put data into a container, or bind the name to data."""
    held = container(value)
    data = [each for each in changes if stores_data(*each, scalar=not held)]
    if held or not data:
        return bool(data)
    rebound = all(each.change in ("rebind", "augment") for _, each in data)
    return rebound and not isinstance(value, ir.Call) and not VALUES.isdisjoint(words(name))


def _changes(top: Facts) -> dict[str, _Changes]:
    """Changes of a module's names in its functions, by name."""
    found: dict[str, _Changes] = {}
    for scope in top.all():
        for mutation in scope.mutations if scope.kind == "function" else ():
            if isinstance(mutation.target, ir.Name) and scope.sees(mutation.target.id):
                found.setdefault(mutation.target.id, []).append((scope, mutation))
    return found


def _uses(top: Facts) -> Counter[str]:
    """How often functions read each of a module's names."""
    found: Counter[str] = Counter()
    for scope in top.all():
        for name, count in scope.loads.items() if scope.kind == "function" else ():
            if scope.sees(name):
                found[name] += count
    return found


def _top_assignments(body: tuple[ir.Statement, ...]) -> Iterator[ir.Assign]:
    """Assignments that run when the module is loaded."""
    for node in body:
        if isinstance(node, ir.Assign):
            if node.targets and not node.operator:
                yield node
        elif isinstance(node, ir.Branch):
            for arm in node.arms:
                yield from _top_assignments(arm.body)
        elif isinstance(node, ir.Try):
            for inner in (node.body, *node.handlers, node.finish):
                yield from _top_assignments(inner)


def stores_data(scope: Facts, mutation: Mutation, *, scalar: bool = False) -> bool:
    """Whether a change stores data: no handle, no constant, and no object that stands for itself."""
    if mutation.change in ("remove", "take"):
        return False
    if mutation.change == "item" and isinstance(mutation.key, ir.Text | ir.Constant):
        return False
    value = mutation.value
    if isinstance(value, ir.Name):
        assigned = scope.locals.get(value.id)
        value = assigned[-1].value if assigned else value
    if value is None or isinstance(value, ir.Constant):
        return False
    if mutation.change == "rebind" and not scalar and container(value):
        return _filled(value)
    if scalar and isinstance(value, ir.Call) and (value.new or last_name(value.function).lstrip("_")[:1].isupper()):
        return False
    return not (scalar and isinstance(value, ir.Text)) and not _machinery(value)


def _machinery(value: ir.Expression) -> bool:
    """Whether a value is a handle or a function, or a container of nothing else."""
    if isinstance(value, ir.Lambda | ir.ClassValue):
        return True
    if isinstance(value, ir.Mapping):
        return bool(value.items) and all(_machinery(each) for _, each in value.items)
    if isinstance(value, ir.Sequence):
        return bool(value.items) and all(_machinery(each) for each in value.items)
    return isinstance(value, ir.Call) and makes_object(last_name(value.function))


def _filled(value: ir.Expression) -> bool:
    if isinstance(value, ir.Mapping | ir.Sequence):
        return bool(value.items)
    return not isinstance(value, ir.Call) or bool(value.arguments)


# ---------------------------------------------------------------- attributes


def _attributes(module: ir.Module, owner: Facts) -> Iterator[Site]:
    node = owner.node
    if not isinstance(node, ir.Class):
        return
    bases = [last_name(base) for base in node.bases]
    if lives_shortly(node.name) or any(base.endswith(_SCREENS) for base in (node.name, *bases)):
        return
    methods = [scope for scope in owner.all() if scope.kind == "function"]
    starts = {
        id(scope) for scope in methods if isinstance(scope.node, ir.Function) and scope.node.name in _CONSTRUCTORS
    }
    keeper = keeps_state(node.name)
    fields = not _FIELDS.isdisjoint(bases) or any(last_name(each) in _FIELD_MAKERS for each in node.decorators)
    changed, used = _member_changes(methods, starts, node.name)
    for name, line, function in _declared(owner, node, methods, starts, fields=fields):
        if not (names_state(name) or (keeper and _keeps(name))):
            continue
        changes = changed.get(name, [])
        data = [each for each in changes if stores_data(*each)]
        plain = sum(each.change not in ("rebind", "augment") for _, each in changes)
        if not data or (used[name] <= plain and not _taken(changes)):
            continue
        if all(_starts_empty(scope, changes) for scope, _ in data):
            continue
        if not (keeper or any(each.key is not None for _, each in data) or not COLLECTED.isdisjoint(words(name))):
            continue
        if module.language != "python" and not keeper and CACHES.isdisjoint(words(name)):
            continue
        yield _site(module, line, function, f"{node.name}.{name}", data[0])


def _member_changes(methods: list[Facts], starts: set[int], owner: str) -> tuple[dict[str, _Changes], Counter[str]]:
    """Changes and reads of the attributes of an object after it is made, by name."""
    changed: dict[str, _Changes] = {}
    used: Counter[str] = Counter()
    for scope in methods:
        if id(scope) in starts:
            continue
        used.update(scope.members)
        for mutation in scope.mutations:
            target = mutation.target
            if isinstance(target, ir.Attribute) and _of_instance(target.value, owner):
                changed.setdefault(target.name, []).append((scope, mutation))
    return changed, used


def _tasks(name: str, value: ir.Expression | None) -> bool:
    """Whether a container is a set of the tasks of an event loop, which must be kept from being collected."""
    made = value.kind == "set" if isinstance(value, ir.Sequence) else last_name(value) == "set"
    return made and words(name)[-1] == "tasks"


def _keeps(name: str) -> bool:
    return names_state(f"{name}_store")


def _taken(changes: _Changes) -> bool:
    """Whether something takes items out again, as from a queue."""
    return any(each.change == "take" for _, each in changes)


def _starts_empty(scope: Facts, changes: _Changes) -> bool:
    """Whether a method empties the container before it fills it: what it collects does not outlive a call."""
    return any(
        each is scope and mutation.change == "rebind" and container(mutation.value) and not _filled(mutation.value)
        for each, mutation in changes
        if mutation.value is not None
    )


def _of_instance(value: ir.Expression, owner: str) -> bool:
    return isinstance(value, ir.Name) and value.id in ("self", "cls", owner)


def _declared(
    owner: Facts, node: ir.Class, methods: list[Facts], starts: set[int], *, fields: bool
) -> Iterator[tuple[str, int, str]]:
    """Containers of an instance or class: name, line, and function that makes them."""
    done: set[str] = set()
    for scope in methods:
        for mutation in scope.mutations if id(scope) in starts else ():
            target = mutation.target
            if not isinstance(target, ir.Attribute) or target.name in done or mutation.change != "rebind":
                continue
            kept = container(mutation.value) and not _tasks(target.name, mutation.value)
            if kept and _of_instance(target.value, node.name):
                done.add(target.name)
                yield target.name, mutation.line, scope.shown
    for statement in () if fields else node.body:
        if isinstance(statement, ir.Assign) and statement.targets and container(statement.value):
            name = statement.targets[0]
            if isinstance(name, ir.Name) and name.id not in done:
                done.add(name.id)
                yield name.id, statement.line, owner.shown


def _site(module: ir.Module, line: int, function: str, target: str, change: tuple[Facts, Mutation]) -> Site:
    scope, mutation = change
    return Site(
        module.path,
        line,
        "bind",
        "proc-global",
        "volatile",
        function,
        evidence=(Evidence(f"changed by {scope.shown}", scope.path, mutation.line),),
        confidence="medium" if CACHES.isdisjoint(words(target)) else "high",
        target=target,
    )


def attached(program: Program, found: Sequence[Site]) -> Iterator[Site]:
    """Find where another class makes an object that keeps state in memory its own store."""
    keepers = {(site.path, site.target.rpartition(".")[0]) for site in found if site.function != "<module>"}
    resolver = program.resolver
    for scope in resolver.scopes:
        if (
            scope.kind != "class"
            or not keeps_state(scope.own_name)
            or (scope.module.path, scope.own_name) not in keepers
        ):
            continue
        maker = resolver.classes.constructor(scope)
        for site in resolver.callers.callers(maker) if maker is not None else ():
            owner = site.scope.owner()
            if owner is not None and owner is not scope and site.scope.own_name in _CONSTRUCTORS:
                made = scope.definition.line if scope.definition is not None else 0
                evidence = Evidence(f"{scope.name} keeps it in memory", scope.module.path, made)
                yield Site(
                    site.scope.module.path,
                    site.call.line,
                    "attach",
                    "proc-global",
                    "volatile",
                    site.scope.name,
                    evidence=(evidence,),
                    target=scope.own_name,
                )
