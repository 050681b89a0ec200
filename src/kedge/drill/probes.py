"""Probes: one small write per store and collection, and reads that show whether it is visible."""

import hashlib
from typing import Any, Protocol

import numpy as np

from kedge.drill.database import Database
from kedge.drill.embedder import Vector
from kedge.model.writes import decode, encode
from kedge.stores.scope import Scope
from kedge.turns.scope import Scoped, scope_of
from kedge.turns.turn import Turn
from kedge.turns.view import ReadView

Reader = Turn | ReadView
_NEIGHBOURS = 10
AGENT = "kedge-drill"  # of the turns that read, and share their cache: it has no artifacts
_CACHED_SECONDS = 60.0


class _Missed(Exception):
    """Cache miss."""


class Probe(Protocol):
    """One place to write to and to read."""

    @property
    def store(self) -> str:
        """The store."""

    @property
    def space(self) -> str:
        """The collection or session, or empty."""

    def write(self, turn: Turn) -> None:
        """Write the probe."""

    def read(self, reader: Reader) -> Any:
        """Return what this reader sees, or None."""


class _Base:
    store = ""

    def __init__(self, name: str, space: str = "") -> None:
        self.name = name
        self.space = space


class ArtifactProbe(_Base):
    """The artifact in the rehearsal's deployment."""

    store = "artifacts"

    def write(self, turn: Turn) -> None:
        """Do nothing: staging wrote it."""

    def read(self, reader: Reader) -> Any:
        """Return its digest."""
        found = reader.artifacts.get(artifact_key(self.name))
        return None if found is None else found.digest


class DocumentProbe(_Base):
    """A derived document in one collection."""

    store = "documents"

    def write(self, turn: Turn) -> None:
        """Store it as derived; a source write would survive the rollback."""
        turn.documents(self.space).put(self.name, _text(self.name), origin="derived")

    def read(self, reader: Reader) -> Any:
        """Return its text; reads by name and by prefix must agree."""
        documents = reader.documents(self.space)
        return _agreed(documents.get(self.name), documents.items(self.name).get(self.name))


class MemoryProbe(_Base):
    """A message in the rehearsal's own session."""

    store = "memory"

    def write(self, turn: Turn) -> None:
        """Append an assistant message."""
        turn.memory.append("assistant", _text(self.name))

    def read(self, reader: Reader) -> Any:
        """Return the number of visible messages in the rehearsal's session, or None."""
        either: Scoped[Scope] = reader
        scope = scope_of(either)
        found = scope.read(lambda view: scope.backend.journal.history(view, self.space, None))
        return len(found.heads) or None


class ContextProbe(_Base):
    """A shared fact."""

    store = "context"

    def write(self, turn: Turn) -> None:
        """Write it."""
        turn.context.put(self.name, _text(self.name))

    def read(self, reader: Reader) -> Any:
        """Return it; reads by key and by prefix must agree."""
        return _agreed(reader.context.get(self.name), reader.context.items(self.name).get(self.name))


class VectorProbe(_Base):
    """A vector in one collection."""

    store = "vectors"

    def write(self, turn: Turn) -> None:
        """Put it, in the space of the embedder that the turn sees."""
        turn.vectors(self.space).upsert([self.name], self._vector(turn)[None, :], [{"drill": self.name}])

    def read(self, reader: Reader) -> Any:
        """Return its payload and the digest of its bytes; lookup and search must agree."""
        vectors = reader.vectors(self.space)
        row = vectors.get([self.name]).get(self.name)
        hits = vectors.search(self._vector(reader), k=_NEIGHBOURS)
        hit = next((hit for hit in hits if hit.id == self.name), None)
        looked_up = None if row is None else row.payload
        agreed = _agreed(looked_up, None if hit is None else hit.payload)
        return agreed if row is None else [agreed, hashlib.sha256(row.vector.tobytes()).hexdigest()]

    def _vector(self, reader: Reader) -> Vector:
        """Return a unit vector seeded by the rehearsal's name, with the dimension of the reader's embedder."""
        collection = reader.vectors(self.space).collection
        pinned = reader.artifacts.get(collection.embedder)
        named = pinned.value.get("dim") if pinned is not None and isinstance(pinned.value, dict) else None
        dim = named if isinstance(named, int) else collection.dim
        seed = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], "big")
        drawn = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
        return drawn / np.linalg.norm(drawn)


class CacheProbe(_Base):
    """A cached result, below the store, which would also ask for the artifacts that it rests on."""

    store = "cache"

    def write(self, turn: Turn) -> None:
        """Cache it for a minute, with the turn's stamp."""
        scope = scope_of(turn)
        scope.backend.cache.put(self._key, encode(_text(self.name)), scope.stamp, scope.now(), _CACHED_SECONDS)

    def read(self, reader: Reader) -> Any:
        """Return the cached value; a view has no cache."""
        if not isinstance(reader, Turn):
            return None
        scope = scope_of(reader)
        found = scope.read(lambda view: scope.backend.cache.find(view, self._key, scope.now()))
        return decode(found[0].payload) if found else None

    @property
    def _key(self) -> bytes:
        return hashlib.sha256(self.name.encode()).digest()


def peek(turn: Turn, key: str) -> Any:
    """Return the cached value of a key, or None; store nothing."""

    def missed() -> Any:
        raise _Missed

    try:
        return turn.cache.get_or_compute(key, missed)
    except _Missed:
        return None


def probes_for(k: Database, name: str, session: str) -> list[Probe]:
    """Return a probe for every store and every collection of a database."""
    documents = scope_of(k.view()).backend.journal.spaces("documents") or [name]
    return [
        ArtifactProbe(name),
        ContextProbe(name),
        *(DocumentProbe(name, collection) for collection in sorted(documents)),
        MemoryProbe(name, session),
        *(VectorProbe(name, collection.name) for collection in k.collections()),
        CacheProbe(name),
    ]


def artifact_key(name: str) -> str:
    """Return the key of the rehearsal's artifact."""
    return f"{name}/configuration"


def _text(name: str) -> str:
    return f"written by the drill {name}; must not be visible to any reader"


def _agreed(one: Any, other: Any) -> Any:
    return one if one == other else f"two reads disagree: {one!r} and {other!r}"


__all__ = ["AGENT", "Probe", "Reader", "artifact_key", "peek", "probes_for"]
