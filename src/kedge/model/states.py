"""States: a row's lineage and what supersedes it, interned as one small integer.

A state decides in which views a row is head. So "the heads of this view" is "the rows in these states": the cost of a
read does not grow with rows that are hidden, superseded or deleted.

Interned are a lineage that nothing supersedes, one that is superseded wherever it is seen, and a lineage with one
superseding lineage, a few of these for each lineage. Every other row is in the contested state of its lineage: the
heads of its key, or the log of superseding writes, decide in which views it is head. So the number of states grows with
the number of lineages, not with their combinations. Any row may be in the contested state of its lineage.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

import msgspec

from kedge.model.lineage import EMPTY, Lineage, antichain
from kedge.model.visibility import View

Superseders = tuple[int, ...] | None  # the ids of the lineages that supersede a row, or None: contested
State = tuple[int, Superseders]  # the id of a lineage, and what supersedes it
Above = Collection[Lineage] | None  # the lineages that supersede a row, or None: contested

PLAIN: Superseders = ()
DEAD: Superseders = (0,)  # superseded by the empty lineage: in every view that sees the row
CONTESTED: Superseders = None
STATES_MAX = 8
"""The states that one lineage may have before rows with one superseding lineage become contested, too."""


class RowClass(IntEnum):
    """What a row is in one view. DEAD: superseded in every view that sees it, now and later.

    CONTESTED: visible, and its state does not tell which of the others it is.
    """

    HIDDEN = 0
    HEAD = 1
    SUPERSEDED = 2
    DEAD = 3
    CONTESTED = 4


def classify(view: View, own: Lineage, superseders: Iterable[Lineage] | None) -> RowClass:
    """Return the class in a view of a row, given its lineage and the lineages that supersede it (None: contested)."""
    if not view.sees(own):
        return RowClass.HIDDEN
    if superseders is None:
        return RowClass.CONTESTED
    visible = [members for members in superseders if view.sees(members)]
    if not visible:
        return RowClass.HEAD
    everywhere = any(hides_always(members, own, view.settled) for members in visible)
    return RowClass.DEAD if everywhere else RowClass.SUPERSEDED


def hides_always(by: Lineage, own: Lineage, settled: Lineage) -> bool:
    """Return whether a lineage supersedes rows of lineage `own` in every view that sees them.

    No set of the settled deployments is built: they are many.
    """
    return by - own <= settled


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


class Standing(NamedTuple):
    """The states, with their lineages, of a space's heads in a view: those that are head, and those that may be.

    A contested head is not the newest of its key (`is_newest`). So where a view sees the newest heads of all keys, no
    contested one is head, and `contested` is empty.
    """

    heads: dict[int, int]
    contested: dict[int, int]


def is_newest(state: State) -> bool:
    """Return whether heads in a state may be the newest of their keys: nothing supersedes these."""
    return state[1] == PLAIN


# ── which state a row moves to ──


class Rule(NamedTuple):
    """What a writer knows: the settled deployments, and whether all writers understand the contested state."""

    settled: Lineage
    contests: bool

    def superseded(self, own: Lineage, above: Above, by: Iterable[Lineage]) -> Above:
        """Return what supersedes a row of lineage `own` once `by` supersede it too.

        Settled deployments are left out: a key keeps few heads over many releases.
        """
        added = [members - self.settled for members in by]
        if any(members <= own for members in added):
            return (EMPTY,)
        if above is None:
            return None
        least = antichain([*(members - self.settled for members in above), *added])
        if any(members <= own for members in least):
            return (EMPTY,)
        return None if self.contests and len(least) > 1 else least


class Entry(NamedTuple):
    """A head of one key: the newest write of one lineage. `is_new`: of this batch, so nothing supersedes it yet."""

    rank: int
    seq: int
    lineage: int
    state: int
    is_new: bool


def is_dead(above: Above) -> bool:
    """Return whether a row is superseded in every view that sees it."""
    return above is not None and EMPTY in above


def restated(
    heads: Sequence[Entry],
    members_of: Callable[[int], Lineage],
    above_of: Callable[[int], Above],
    rule: Rule,
) -> dict[int, Above]:
    """Return, by lineage, what supersedes the heads of a key whose states change; a dead one is to be dropped.

    The heads are ordered, the newest first.
    The older heads have met each other before: only new ones, and those with settled members, are compared with them.
    Below an older head, those lineages that include its own change nothing: where they are seen, so is that head. So
    the heads of a chain of releases, of which each rests on the one before, are not visited.
    `members_of` returns the set of a lineage, `above_of` what supersedes the rows of a state.
    """
    changed: dict[int, Above] = {}
    above: list[Lineage] = []
    acting: list[Lineage] = []
    last_new = max((place for place, head in enumerate(heads) if head.is_new), default=-1)
    for place, head in enumerate(heads):
        if not acting and place > last_new:
            break
        own = members_of(head.lineage)
        before: Above = () if head.is_new else above_of(head.state) if acting else ()
        after = rule.superseded(own, before, above if head.is_new else acting) if above else before
        if (acting or head.is_new) and not are_same(before, after):
            changed[head.lineage] = after
        if is_dead(after):
            continue
        above.append(own)
        if not head.is_new:
            least = own - rule.settled
            acting = [members for members in acting if not least <= members]
        if head.is_new or not own.isdisjoint(rule.settled):
            acting.append(own)
    return changed


def are_same(before: Above, after: Above) -> bool:
    """Return whether the same lineages supersede two rows of one lineage, or both are contested."""
    if before is None or after is None:
        return before is after
    return set(before) == set(after)


# ── the table of states ──

_LASTING = {json.dumps(superseders): superseders for superseders in (PLAIN, DEAD, CONTESTED)}
_DECODER = msgspec.json.Decoder(tuple[int, ...])


def to_text(superseders: Superseders) -> str:
    """Return the stored text of what supersedes a row."""
    return json.dumps(superseders)


def from_text(text: str) -> Superseders:
    """Return what `to_text` made this text of."""
    return _LASTING[text] if text in _LASTING else _DECODER.decode(text)


def is_lasting(superseders: Superseders) -> bool:
    """Return whether a state is one of the three that each lineage has, which are never collected."""
    return superseders in {PLAIN, DEAD, CONTESTED}


class StateTable:
    """The committed states that a process has read, by id. An id never changes its meaning."""

    def __init__(self) -> None:
        self.known: dict[int, State] = {}
        self.lasting: dict[State, int] = {}  # ids of states that are never collected
        self.last = 0  # the greatest known id, or 0

    def learn(self, rows: Iterable[tuple[int, int, str]]) -> None:
        """Add rows (id, lineage, superseders as text)."""
        last = self.last
        for ident, lineage, text in rows:
            state = lineage, from_text(text)
            if text in _LASTING:
                self.lasting[state] = ident
            self.known[ident] = state
            last = max(last, ident)
        self.last = last
