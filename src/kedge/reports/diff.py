"""Difference between two views, key by key."""

from typing import Any

from kedge.errors import InvalidValue
from kedge.model.artifacts import label, unpack
from kedge.model.retention import content_of
from kedge.model.writes import Head, decode
from kedge.support.display import Report, Value
from kedge.turns.scope import scope_of
from kedge.turns.view import ReadView


class KeyChange(Value, frozen=True):
    """A key whose head differs; seq 0 means that the view does not see the key.

    The values are those of the heads: a message's content, an artifact's label, a vector's payload.
    """

    key: str
    a_seq: int
    b_seq: int
    a_value: Any = None
    b_value: Any = None


class SpaceDiff(Value, frozen=True):
    """What differs in one space of a store, from view a to view b; `same` counts the keys with equal heads."""

    store: str
    space: str
    added: tuple[KeyChange, ...]
    removed: tuple[KeyChange, ...]
    changed: tuple[KeyChange, ...]
    same: int

    @property
    def differs(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.removed or self.changed)


class Diff(Report, frozen=True):
    """What differs, over all stores but the cache. `a_seen` and `b_seen` are the deployments that the views see."""

    a_seen: tuple[str, ...]
    b_seen: tuple[str, ...]
    a_upto: int | None
    b_upto: int | None
    spaces: tuple[SpaceDiff, ...]

    def __str__(self) -> str:
        """Return the verdict."""
        found = [
            f"{space.store}{f'/{space.space}' if space.space else ''}: {len(space.added)} added, "
            f"{len(space.removed)} removed, {len(space.changed)} changed"
            for space in self.spaces
            if space.differs
        ]
        return "; ".join(found) or "both views see the same"

    @property
    def same(self) -> bool:
        """Whether both views see the same everywhere."""
        return not any(space.differs for space in self.spaces)


def diff(a: ReadView, b: ReadView) -> Diff:
    """Compare two views of one database, key by key, in all stores, users' own included.

    Time and memory grow with what the views see, one space at a time.
    """
    backend = scope_of(a).backend
    if backend is not scope_of(b).backend:
        raise InvalidValue(
            "cannot compare views of two databases: their seqs are unrelated; take both views from one Kedge"
        )
    journal = backend.journal
    spaces = [_compare(a, b, store, space) for store in journal.stores() for space in sorted(journal.spaces(store))]
    return Diff(tuple(sorted(a.seen)), tuple(sorted(b.seen)), a.upto, b.upto, tuple(spaces))


def _compare(a: ReadView, b: ReadView, store: str, space: str) -> SpaceDiff:
    left, right = _heads(a, store, space), _heads(b, store, space)
    both = left.keys() & right.keys()
    changed = [key for key in sorted(both) if left[key].seq != right[key].seq]
    return SpaceDiff(
        store=store,
        space=space,
        added=tuple(KeyChange(key, 0, right[key].seq, None, _value(right[key])) for key in sorted(right.keys() - both)),
        removed=tuple(KeyChange(key, left[key].seq, 0, _value(left[key])) for key in sorted(left.keys() - both)),
        changed=tuple(
            KeyChange(key, left[key].seq, right[key].seq, _value(left[key]), _value(right[key])) for key in changed
        ),
        same=len(both) - len(changed),
    )


def _heads(view: ReadView, store: str, space: str) -> dict[str, Head]:
    scope = scope_of(view)
    found = scope.read(lambda v: scope.backend.journal.range(v, store, space))
    return {head.key.name: head for head in found.heads}


def _value(head: Head) -> Any:
    if head.deleted:
        return None
    payload = content_of(head.payload, head.key.name, head.seq)
    if head.key.store == "artifacts":
        return label(unpack(payload))
    value = decode(payload)
    return value.get("content") if head.key.store == "memory" and isinstance(value, dict) else value


__all__ = ["Diff", "KeyChange", "SpaceDiff", "diff"]
