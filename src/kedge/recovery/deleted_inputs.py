"""Deleted inputs: source inputs that were deleted since a turn used them, and so are not replayed."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from kedge.model.control import ControlRecord
from kedge.model.visibility import View
from kedge.model.writes import Key
from kedge.turns import session_assignment
from kedge.turns.kernel import Kernel

_AT_ONCE = 1_000


class Input(Protocol):
    """What is asked of an input: its key, and the session that its replay would work in."""

    @property
    def store(self) -> str:
        """The store of its key."""

    @property
    def space(self) -> str:
        """The space of its key."""

    @property
    def key(self) -> str:
        """The name of its key."""

    @property
    def session(self) -> str | None:
        """The session that its replay would work in."""


T = TypeVar("T", bound=Input)


def split(kernel: Kernel, record: ControlRecord, inputs: Iterable[T]) -> tuple[list[T], list[T]]:
    """Return the inputs that stand, and those that the view of their session shows deleted, each in the given order."""
    asked = list(inputs)
    gone: set[int] = set()
    for view, positions in _by_view(kernel, record, asked).items():
        for start in range(0, len(positions), _AT_ONCE):
            some = positions[start : start + _AT_ONCE]
            keys = [Key(asked[p].store, asked[p].space, asked[p].key) for p in some]
            pairs = kernel.backend.impact.head_pairs(view, view, keys)
            gone |= {p for p, (head, _) in zip(some, pairs, strict=True) if head is not None and head.deleted}
    kept = [item for position, item in enumerate(asked) if position not in gone]
    return kept, [asked[position] for position in sorted(gone)]


def _by_view(kernel: Kernel, record: ControlRecord, asked: Sequence[Input]) -> dict[View, list[int]]:
    """Return the positions of inputs by the view of their session."""
    bases: dict[str | None, frozenset[int]] = {None: record.live}
    sessions = list({item.session for item in asked if item.session is not None})
    for start in range(0, len(sessions), _AT_ONCE):
        bases.update(session_assignment.previews(kernel, record, sessions[start : start + _AT_ONCE]))
    views: dict[frozenset[int], View] = {}
    found: dict[View, list[int]] = {}
    for position, item in enumerate(asked):
        base = bases[item.session]
        if base not in views:
            views[base] = View(record.epoch, record.seen_by(base | record.externals), record.settled)
        found.setdefault(views[base], []).append(position)
    return found
