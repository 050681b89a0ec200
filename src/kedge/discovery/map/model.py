"""Values of the context boundary map: agents, stores, systems and deployments, and what connects them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from kedge.discovery.traces import BlindSpot

VERSION = 1

NodeKind: TypeAlias = Literal["agent", "store", "system", "deployment"]
"""`system`: what is called and keeps no state of the agents: a model, a web host, a reference to a model or prompt."""

Relation: TypeAlias = Literal["read", "write", "use", "call", "run"]
"""What an edge says.

`read`, `write`: an agent and a store. `use`: an agent opens or is given a store; whether it reads or writes is not
told. `call`: an agent and another one, or a system. `run`: a deployment and an agent that ran in it.
"""

Provenance: TypeAlias = Literal["static", "observed", "journaled"]
"""How an edge is known: found in the code, seen in traces, recorded by Kedge."""


class Node(msgspec.Struct, frozen=True, order=True):
    """A node. `by`: what names an agent ("module" where the code tells no agent). `states`: where a store's state is.

    `places`: "path:line" of the code and configuration that name it, at most `PLACES`.
    """

    id: str
    kind: NodeKind
    name: str
    by: str = ""
    states: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


class Choice(msgspec.Struct, frozen=True, order=True):
    """What decides at run time whether an edge is there: "env(DATABASE_TYPE)=postgres", and among which stores."""

    selector: str
    default: bool
    alternatives: tuple[str, ...] = ()


class Edge(msgspec.Struct, frozen=True, order=True):
    """An edge from a node to a node, by id: what an agent reads is an edge from the agent to the store, too.

    `calls` and `errors`: of the traces. `records`: writes or reads that Kedge's journal holds. `choices`: null as long
    as nothing decides whether it is there.
    """

    source: str
    target: str
    relation: Relation
    provenance: tuple[Provenance, ...]
    calls: int = 0
    errors: int = 0
    records: int = 0
    places: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()


class Boundary(msgspec.Struct, frozen=True, order=True):
    """A place where context crosses from one agent to another.

    `through`: the id of the store, empty for a call. `kind`: "store", "cache", "message" or "call". `certain`: the one
    is known to write and the other to read; else one of them only opens the store, or a store's name is not known.
    """

    source: str
    target: str
    through: str
    kind: Literal["store", "cache", "message", "call"]
    certain: bool
    provenance: tuple[Provenance, ...]


class Step(msgspec.Struct, frozen=True, order=True):
    """A node that a deployment can reach, in how many steps, and the node before it."""

    steps: int
    node: str
    after: str


class Reached(msgspec.Struct, frozen=True, order=True):
    """A space of a store of Kedge that a deployment did reach: how many recorded writes carry it."""

    store: str
    writes: int


class Blast(msgspec.Struct, frozen=True):
    """Blast radius of a deployment: what it can reach, and what it did reach.

    `can`: by edges of any provenance; agents that ran in it are one step away. `did`: null where no database of Kedge
    was given, or it does not know the deployment.
    """

    deployment: str
    can: tuple[Step, ...]
    did: tuple[Reached, ...] | None
    agents: tuple[str, ...] = ()


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What the map rests on. Counts are null where the source was not given."""

    sites: int | None = None
    unparsed: tuple[str, ...] = ()
    spans: int | None = None
    bad_parts: int = 0
    window: tuple[float, float] | None = None
    turns: int | None = None
    all_turns: bool = True


class ContextMap(msgspec.Struct, frozen=True, kw_only=True):
    """The map. `chain`: the longest shortest way of context between two nodes (its length is the diameter).

    `unresolved`: selectors that nothing decided. `unselected`: places that the given environment rules out.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    boundaries: tuple[Boundary, ...]
    chain: tuple[str, ...]
    blast: Blast | None
    unresolved: tuple[Choice, ...]
    unselected: tuple[str, ...]
    blind: tuple[BlindSpot, ...]
    coverage: Coverage
    version: int = VERSION
