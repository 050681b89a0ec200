"""The Counterfactual law, proved by twins: the same days again on copies of the same database, without the release.

*The stopped twin* runs the days with every turn that the release influenced stopped at the first operation that was,
source writes excepted, as the drill's own trace recorded them. After the rollback the rehearsed database must look
like it, to the last byte.

*The clean twin* runs the days in full, as if the release had never been. After the replay the rehearsed database must
look like it, wherever the law promises so: a session that in the twin read work which over there had to be replayed
(it could not be read at the time, being hidden) may have answered otherwise, and so may whoever read its answers.
Which these are is worked out from the clean twin's own trace of reads.
"""

from collections.abc import Callable, Mapping, Sequence

from kedge.drill.agents import Task
from kedge.drill.content import COUNT, Content, Scope, differ, visible
from kedge.drill.database import Opener
from kedge.drill.quality import measure
from kedge.drill.release import Embedders
from kedge.drill.results import Proof
from kedge.drill.reviewer_process import LocalReviewer
from kedge.drill.team import Team
from kedge.drill.trace import Place, Surprise, Trace, entangled

_EXAMPLES_MAX = 8
LiveDays = Callable[[Team], None]


class Twin:
    """One twin's run, and what is visible at its end."""

    def __init__(
        self,
        open_: Opener,
        place: str,
        trace: Trace,
        embedders: Embedders,
        live: LiveDays,
        scope: Scope,
        *,
        stops: Mapping[str, int] | None = None,
    ) -> None:
        """Live the days on the copy at `place`."""
        self.trace = trace
        with open_(place, durability="normal") as k:
            live(Team(k, trace, embedders, LocalReviewer(k), stops=stops))
            self.content: Content = visible(k, scope)
            self._histories = {session: k.view(session=session).memory.history() for session in scope.sessions}

    def right(self, sessions: Sequence[Sequence[Task]]) -> int:
        """Return how many of the twin's answers in these sessions are right."""
        return measure("", "", sessions, self._histories.__getitem__).right

    @property
    def surprises(self) -> list[Surprise]:
        """Reads that returned something else than the twin's own bookkeeping says."""
        return self.trace.surprises


def prove_stopped(after_rollback: Content, twin: Twin) -> Proof:
    """Compare the database after its rollback with the stopped twin: everything must be equal."""
    return _proof(after_rollback, twin.content, frozenset())


def prove_clean(after_replay: Content, twin: Twin, ours: Trace, replayed: frozenset[str]) -> Proof:
    """Compare the database after its replay with the clean twin, where the law promises equality.

    `replayed` holds the names of the questions that were replayed.
    """
    beyond = entangled(twin.trace, lambda label: label.partition("/")[0] in replayed)
    return _proof(after_replay, twin.content, _places_of(beyond, twin.trace) | _places_of(beyond, ours))


def prove_bookkeeping(after_rollback: Content, must_be: Content) -> Proof:
    """Compare the database with what the drill's own bookkeeping says must be visible in it."""
    ours = {
        place: value[1] if place.store == "vectors" else value
        for place, value in after_rollback.items()
        if place.store != "artifacts" and place.name != COUNT
    }
    return _proof(ours, must_be, frozenset())


def _places_of(labels: set[str], trace: Trace) -> frozenset[Place]:
    """Return the places that these turns wrote to."""
    places = set()
    for label, place, version in trace.written():
        if label in labels and not version.source:
            places.add(place)
            if place.store == "vectors":
                places.add(Place("vectors", place.space, COUNT))
    return frozenset(places)


def _proof(ours: Content, theirs: Content, leave_out: frozenset[Place]) -> Proof:
    difference = differ(ours, theirs, leave_out=leave_out)
    examples = [
        *(f"only here: {_named(place)}" for place in difference.only_left),
        *(f"only in the twin: {_named(place)}" for place in difference.only_right),
        *(f"not the same: {_named(place)}" for place in difference.changed),
    ]
    same = sum(1 for place in leave_out if ours.get(place) == theirs.get(place))
    return Proof(difference.compared, difference.count, len(leave_out), same, examples[:_EXAMPLES_MAX])


def _named(place: Place) -> str:
    return f"{place.store}:{place.space}/{place.name}"


__all__ = ["LiveDays", "Twin", "prove_bookkeeping", "prove_clean", "prove_stopped"]
