"""State that a runtime keeps: Ray actors, sessions of Streamlit, storage of a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kedge.discovery import ir
from kedge.discovery.scan.local.facts import Facts
from kedge.discovery.scan.local.process import container, is_actor, stores_data
from kedge.discovery.scan.local.words import last_name, names_state
from kedge.discovery.sites import Evidence, Site, SiteClass, StateKind

_STORAGES: dict[str, StateKind] = {"localStorage": "embedded", "sessionStorage": "volatile"}
_STORAGE = re.compile(r"(?i)(?:local|session)[-_]?storage|persist(?:ed)?state|persist")


def runtime_sites(modules: Sequence[tuple[ir.Module, Facts]]) -> Iterator[Site]:
    """Find state that a runtime keeps for the code."""
    actors = {
        scope.node.name: scope
        for module, top in modules
        if module.language == "python" and _imports(module, "ray")
        for scope in top.all()
        if isinstance(scope.node, ir.Class) and is_actor(scope.node)
    }
    changing = {name for actor in actors.values() for name in _changing_methods(actor)}
    for module, top in modules:
        if module.language != "python":
            yield from _browser(module, top)
            continue
        if _imports(module, "ray"):
            yield from _actors(module, top, actors, changing)
        if _imports(module, "streamlit"):
            yield from _sessions(module, top)


def _imports(module: ir.Module, package: str) -> bool:
    return any(
        isinstance(node, ir.Import) and not node.level and node.module.partition(".")[0] == package
        for node in module.body
    )


# ---------------------------------------------------------------- Ray


def _changing_methods(actor: Facts) -> Iterator[str]:
    """Methods that give an actor data to keep. What only takes or counts is left out."""
    for scope in actor.inner:
        node = scope.node
        if (
            isinstance(node, ir.Function)
            and node.name != "__init__"
            and any(stores_data(scope, each) for each in scope.mutations)
        ):
            yield node.name


def _actors(module: ir.Module, top: Facts, actors: dict[str, Facts], changing: set[str]) -> Iterator[Site]:
    for scope in top.all():
        if isinstance(scope.node, ir.Class) and is_actor(scope.node):
            yield from _actor_state(module, scope)
        for call in scope.calls:
            if not isinstance(call.function, ir.Attribute) or call.function.name != "remote":
                continue
            made = call.function.value
            options = made if isinstance(made, ir.Call) and last_name(made) == "options" else None
            maker = options.function.value if options and isinstance(options.function, ir.Attribute) else made
            name = last_name(maker)
            if name in actors and not isinstance(maker, ir.Call):
                detached = options is not None and any(
                    each.name == "lifetime" and each.value == ir.Text(each.value.line, "detached")
                    for each in options.keywords
                )
                why = "a detached actor outlives the process that made it" if detached else "an actor keeps state"
                yield _site(module, call.line, scope, what="bind", store="ray-actor", target=name, why=why)
            elif isinstance(made, ir.Attribute) and made.name in changing:
                yield _site(module, call.line, scope, store="ray-actor", target=name, why="changes an actor")


def _actor_state(module: ir.Module, actor: Facts) -> Iterator[Site]:
    for scope in actor.inner:
        if not isinstance(scope.node, ir.Function) or scope.node.name != "__init__":
            continue
        for mutation in scope.mutations:
            if isinstance(mutation.target, ir.Attribute) and container(mutation.value):
                target = f"{actor.name}.{mutation.target.name}"
                why = "an actor keeps it"
                yield _site(module, mutation.line, scope, what="bind", store="ray-actor", target=target, why=why)


# ---------------------------------------------------------------- Streamlit and browsers


def _sessions(module: ir.Module, top: Facts) -> Iterator[Site]:
    for scope in top.all():
        for mutation in scope.mutations:
            target, key = mutation.target, mutation.key
            if mutation.change == "item" and last_name(target) == "session_state" and isinstance(key, ir.Text):
                name = key.value
            elif (
                mutation.change == "rebind"
                and isinstance(target, ir.Attribute)
                and last_name(target.value) == "session_state"
            ):
                name = target.name
            else:
                continue
            if names_state(name):
                yield _site(
                    module, mutation.line, scope, store="ui-session", target=name, why="kept for one browser session"
                )


def _browser(module: ir.Module, top: Facts) -> Iterator[Site]:
    for scope in top.all():
        for call in scope.calls:
            function = call.function
            if not isinstance(function, ir.Attribute) or function.name != "setItem":
                continue
            storage = last_name(function.value)
            key = call.arguments[0].value if call.arguments and isinstance(call.arguments[0], ir.Text) else ""
            stem = module.path.rpartition("/")[2].partition(".")[0]
            named = [key] if key else [stem, scope.name.rpartition(".")[2]]
            if storage in _STORAGES and any(names_state(_STORAGE.sub("", name)) for name in named):
                kind = _STORAGES[storage]
                yield _site(module, call.line, scope, store="browser-storage", kind=kind, target=key, why=storage)


def _site(
    module: ir.Module,
    line: int,
    scope: Facts,
    *,
    what: SiteClass = "write",
    store: str,
    kind: StateKind = "volatile",
    target: str,
    why: str,
) -> Site:
    return Site(
        module.path,
        line,
        what,
        store,
        kind,
        scope.shown,
        evidence=(Evidence(why, module.path, line),),
        confidence="high" if store == "ray-actor" else "medium",
        target=target,
    )
