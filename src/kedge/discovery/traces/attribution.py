"""Attribution of the calls of one trace to agents: a pure function of its spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from kedge.discovery.traces.agents import Named
from kedge.discovery.traces.facts import Facts, Touch
from kedge.discovery.traces.model import External
from kedge.discovery.traces.spans import Link

Rows = Mapping[bytes, tuple[bytes, Facts]]
"""Of each span of a trace by its id: the parent's id, and its facts."""

Lookup = Callable[[Link], Facts | None]
"""Finds the facts of a linked span, of whatever trace."""

_UNKNOWN = Named("unknown", "service")


class Call(msgspec.Struct, frozen=True):
    """One call of a store by an agent."""

    agent: Named
    touch: Touch
    deployment: str
    session: str
    error: bool
    start: int


class Attributed(msgspec.Struct):
    """What one trace shows."""

    calls: list[Call] = []
    handovers: list[tuple[str, str, str]] = []  # from, to, "call" or "link"
    externals: list[External] = []
    orphans: int = 0
    neither: int = 0
    inner: int = 0


class _Context(msgspec.Struct, frozen=True, gc=False):
    """What a span inherits: the nearest agent, session and deployment above, and whether it is inside a call."""

    agent: Named | None = None
    session: str = ""
    deployment: str = ""
    in_call: bool = False
    in_external: bool = False


def attribute(rows: Rows, lookup: Lookup) -> Attributed:
    """Give each call of a trace to the nearest agent above it; else to that of a linked span of the same service.

    Without either, the service is the agent. A store's span inside another one's is a part of that call, and so is a
    driver's span beside that of its ORM, with the same statement in the same interval.
    """
    found = Attributed()
    contexts: dict[bytes, _Context] = {}
    backed: set[bytes] = set()
    drivers = _drivers(rows)
    for span in _parents_first(rows):
        parent, facts = rows[span]
        above = contexts.get(parent)
        if above is None:
            found.orphans += bool(parent)
            above = _Context()
        agent = facts.named or above.agent or _linked(facts, lookup)
        _hand_over(found, above, facts, lookup)
        here = _Context(
            agent,
            facts.session or above.session,
            facts.deployment or above.deployment,
            above.in_call,
            above.in_external,
        )
        if facts.named is not None and facts.named != above.agent:
            here = msgspec.structs.replace(here, in_call=False, in_external=False)
        contexts[span] = _take(found, span, facts, here, drivers)
        if facts.touches is not None:
            _mark(rows, parent, backed)
    for span, context in contexts.items():
        facts = rows[span][1]
        if facts.weak and span not in backed and not context.in_call:
            found.calls += [_call(touch, facts, context) for touch in facts.weak]
    return found


def _take(found: Attributed, span: bytes, facts: Facts, here: _Context, drivers: set[bytes]) -> _Context:
    """Count what a span does; return the context of its children."""
    if facts.touches is not None:
        if not facts.touches:
            found.neither += 1
        elif here.in_call or span in drivers:
            found.inner += 1
        else:
            found.calls += [_call(touch, facts, here) for touch in facts.touches]
            if not facts.messaging:  # what is below a received message is its processing
                return msgspec.structs.replace(here, in_call=True)
    elif facts.external is not None and not here.in_call and not here.in_external:
        kind, name = facts.external
        agent = here.agent or _service(facts)
        found.externals.append(External(agent.name, "model" if kind == "model" else "http", name, 1, int(facts.error)))
        return msgspec.structs.replace(here, in_external=True)
    return here


def _call(touch: Touch, facts: Facts, here: _Context) -> Call:
    agent = here.agent or _service(facts)
    return Call(agent, touch, here.deployment or facts.of_resource, here.session, facts.error, facts.start)


def _service(facts: Facts) -> Named:
    return Named(facts.service, "service") if facts.service else _UNKNOWN


def _linked(facts: Facts, lookup: Lookup) -> Named | None:
    """Return the agent of a linked span of the same service: work that it began and that has no parent."""
    for link in facts.links:
        other = lookup(link)
        if other is not None and other.named is not None and other.service == facts.service:
            return other.named
    return None


def _hand_over(found: Attributed, above: _Context, facts: Facts, lookup: Lookup) -> None:
    if facts.named is None:
        return
    if above.agent is not None and above.agent.name != facts.named.name and above.agent.by != "workflow":
        found.handovers.append((above.agent.name, facts.named.name, "call"))
    for link in facts.links:
        other = lookup(link)
        if other is not None and other.named is not None and other.named.name != facts.named.name:
            found.handovers.append((other.named.name, facts.named.name, "link"))


def _mark(rows: Rows, span: bytes, backed: set[bytes]) -> None:
    """Note that a span of a store lies below these."""
    while span in rows and span not in backed:
        backed.add(span)
        span = rows[span][0]


def _drivers(rows: Rows) -> set[bytes]:
    """Return the spans of drivers that lie beside an ORM's span of the same statement, in its interval."""
    groups: dict[tuple[bytes, str], list[bytes]] = {}
    for span, (parent, facts) in rows.items():
        if facts.statement and parent:
            groups.setdefault((parent, facts.statement), []).append(span)
    found: set[bytes] = set()
    for spans in groups.values():
        outer = [span for span in spans if ".sqlalchemy" in rows[span][1].scope]
        free = [span for span in spans if span not in outer]
        for each in outer:
            facts = rows[each][1]
            inside = next(
                (span for span in free if facts.start <= rows[span][1].start and rows[span][1].end <= facts.end), None
            )
            if inside is not None:
                free.remove(inside)
                found.add(inside)
    return found


def _parents_first(rows: Rows) -> Iterator[bytes]:
    """Yield each span after its parent, siblings by time; of a cycle of parents, some span comes first."""
    children: dict[bytes, list[bytes]] = {}
    for span, (parent, _) in rows.items():
        children.setdefault(parent if parent in rows else b"", []).append(span)
    seen: set[bytes] = set()
    queue = sorted(children.get(b"", []), key=lambda span: (rows[span][1].start, span), reverse=True)
    rest = iter(sorted(rows))
    while len(seen) < len(rows):
        if not queue:
            queue = [next(span for span in rest if span not in seen)]
        span = queue.pop()
        if span not in seen:
            seen.add(span)
            yield span
            queue += sorted(children.get(span, []), key=lambda span: (rows[span][1].start, span), reverse=True)
