"""States: a row's lineage with the minimal lineages that supersede it, interned as one small integer.

A state decides in which views a row is head. So "the heads of this view" is "the rows in these states": the cost of a
read does not grow with rows that are hidden, superseded or deleted.
"""

import json
from collections.abc import Iterable, Mapping
from enum import IntEnum

from kedge.model.lineage import Lineage, antichain
from kedge.model.visibility import View

State = tuple[int, tuple[int, ...]]  # the id of a lineage, and the ids of the lineages that supersede it


class RowClass(IntEnum):
    """What a row is in one view. DEAD: superseded in every view that sees it, now and later."""

    HIDDEN = 0
    HEAD = 1
    SUPERSEDED = 2
    DEAD = 3


def classify(view: View, own: Lineage, superseders: Iterable[Lineage]) -> RowClass:
    """Return the class in a view of a row, given its lineage and the lineages that supersede it."""
    if not view.sees(own):
        return RowClass.HIDDEN
    visible = [members for members in superseders if view.sees(members)]
    if not visible:
        return RowClass.HEAD
    everywhere = own | view.settled
    return RowClass.DEAD if any(members <= everywhere for members in visible) else RowClass.SUPERSEDED


def deciding(view: View, own: Lineage, superseders: Iterable[Lineage]) -> set[Lineage]:
    """Return the revocable lineages that decide whether rows of a state are head in a present view.

    A superseder counts without the lineage of the row: a view that does not see that sees no row to supersede.
    """
    above = list(superseders)
    match classify(view, own, above):
        case RowClass.HEAD:
            found = [own - view.settled]
        case RowClass.SUPERSEDED:
            seen = (members for members in above if view.sees(members))
            found = [members - own for members in minimal(seen, view.settled)]
        case _:
            found = []
    return {members for members in found if members}


def minimal(lineages: Iterable[Lineage], settled: Lineage) -> list[Lineage]:
    """Return the minimal sets among lineages without their settled members, which hide nothing from any view."""
    return antichain(members - settled for members in lineages)


def superseders(
    entries: Iterable[tuple[int, int, int]], members: Mapping[int, Lineage]
) -> dict[int, tuple[int, ...] | None]:
    """Return for each entry (rank, seq, lineage) of one key, by lineage, the lineages that supersede it.

    None: a newer entry hides this one in every view that sees it.
    """
    found: dict[int, tuple[int, ...] | None] = {}
    above: list[int] = []
    for _, _, lineage in sorted(entries, reverse=True):
        is_dominated = any(members[other] <= members[lineage] for other in above)
        found[lineage] = None if is_dominated else tuple(above)
        if not is_dominated:
            above.append(lineage)
    return found


def to_text(superseding: Iterable[int]) -> str:
    """Return the stored text of the lineages that supersede a row."""
    return json.dumps(list(superseding))


def from_text(text: str) -> tuple[int, ...]:
    """Return the lineages that `to_text` made this text of."""
    return tuple(json.loads(text))


class StateTable:
    """The committed states that a process has read. Ids are 1, 2, 3… and never change."""

    def __init__(self) -> None:
        self.known: list[State] = [(0, ())]  # by id; ids begin at 1
        self.ids: dict[State, int] = {}

    @property
    def last(self) -> int:
        """The id of the newest known state, or 0."""
        return len(self.known) - 1

    def learn(self, rows: Iterable[tuple[int, int, str]]) -> None:
        """Add rows (id, lineage, superseders as text) that follow the last known one, in order of id."""
        for ident, lineage, text in rows:
            state = (lineage, from_text(text))
            self.ids[state] = ident
            self.known.append(state)  # last: after an interrupt or a fork before it, `learn` repeats this row
