"""Values of a trace report: who read and wrote which store, for which deployment, and what traces cannot show."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Access: TypeAlias = Literal["read", "write", "unknown"]
"""`unknown`: the span names no operation that is known to read or to write."""

AgentBy: TypeAlias = Literal["agent", "node", "workflow", "service"]
"""What names the agent: its own span, a graph node, a workflow or chain, or only the resource's `service.name`."""

VERSION = 1


class StoreName(msgspec.Struct, frozen=True, order=True):
    """A store as spans name it. Parts that no span told are empty.

    `family`: "chroma", "postgres", … `namespace`: database, schema or file. `collection`: table, collection, topic.
    `address`: host and port.
    """

    family: str
    namespace: str = ""
    collection: str = ""
    address: str = ""

    def __str__(self) -> str:
        inner = "/".join(part for part in (self.namespace, self.collection) if part)
        place = f"@{self.address}" if self.address else ""
        return f"{self.family}{':' if inner else ''}{inner}{place}"


class Traffic(msgspec.Struct, frozen=True, order=True):
    """Calls of one agent to one store, of one access and deployment.

    `sessions`: distinct ones; `first` and `last`: Unix times of the first call's begin and the last call's begin;
    `per_second`: calls over the window of the whole report, null where that has no length.
    """

    agent: str
    agent_by: AgentBy
    store: StoreName
    access: Access
    deployment: str
    calls: int
    errors: int
    sessions: int
    first: float
    last: float
    per_second: float | None = None


class Handover(msgspec.Struct, frozen=True, order=True):
    """Times that one agent's span caused another agent's: below it (`call`), or by a span link (`link`)."""

    agent: str
    to: str
    by: Literal["call", "link"]
    times: int


class External(msgspec.Struct, frozen=True, order=True):
    """Calls of an agent to a system that is no store: a `model` of a provider, or an `http` host."""

    agent: str
    kind: Literal["model", "http"]
    name: str
    calls: int
    errors: int


class BlindSpot(msgspec.Struct, frozen=True, order=True):
    """What cannot be observed by an instrumentation that sent spans. `scope` is empty where it holds for all traces."""

    scope: str
    what: str


class BadPart(msgspec.Struct, frozen=True, order=True):
    """A line, element or span that could not be read."""

    file: str
    place: str
    reason: str


class TraceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the traces show. `neither`: calls of stores that neither read nor write (BEGIN, PRAGMA, ping).

    `inner`: spans of stores inside a call of a store, and of a driver below its ORM: parts of that call. `orphans`:
    spans whose parent is in none of the files. `bad` lists the first bad parts of each file, `bad_parts` counts all.
    """

    traffic: tuple[Traffic, ...]
    handovers: tuple[Handover, ...]
    externals: tuple[External, ...]
    blind: tuple[BlindSpot, ...]
    bad: tuple[BadPart, ...]
    bad_parts: int
    files: int
    spans: int
    traces: int
    duplicates: int
    orphans: int
    neither: int
    inner: int
    services: tuple[str, ...]
    scopes: tuple[str, ...]
    first: float | None
    last: float | None
    version: int = VERSION

    @property
    def seconds(self) -> float:
        """Length of the window: from the first begin to the last end of a span."""
        return 0.0 if self.first is None or self.last is None else self.last - self.first
