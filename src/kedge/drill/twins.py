"""Twins: copies of the database that run the same days without the release, to prove the Counterfactual law.

*The stopped twin* stops every influenced turn at its first influenced operation, except for source writes. The drill's
own trace tells which operations these are. After the rollback, the drill's database must equal it byte for byte.

*The clean twin* runs the days in full, as if the release had never existed. After the replay, the drill's database must
equal it wherever the law applies. The law does not apply to a session that in the twin read work which the drill's
database had to replay: there it was hidden at that time, so the session may have answered differently. The same holds
for all readers of its answers. The clean twin's trace of reads tells which sessions these are.
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
RunDays = Callable[[Team], None]


class Twin:
    """The run of one twin, and its visible content at the end."""

    def __init__(
        self,
        open_: Opener,
        place: str,
        trace: Trace,
        embedders: Embedders,
        run_days: RunDays,
        scope: Scope,
        *,
        stops: Mapping[str, int] | None = None,
    ) -> None:
        """Run the days on the copy at `place`."""
        self.trace = trace
        with open_(place, durability="normal") as k:
            run_days(Team(k, trace, embedders, LocalReviewer(k), stops=stops))
            self.content: Content = visible(k, scope)
            self._histories = {session: k.view(session=session).memory.history() for session in scope.sessions}

    def right(self, sessions: Sequence[Sequence[Task]]) -> int:
        """Return how many of the twin's answers in these sessions are right."""
        return measure("", "", sessions, self._histories.__getitem__).right

    @property
    def surprises(self) -> list[Surprise]:
        """Reads that returned another value than the twin's trace expects."""
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
    """Compare the database with the visible content that the drill's own trace expects."""
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
        *(f"different: {_named(place)}" for place in difference.changed),
    ]
    same = sum(1 for place in leave_out if ours.get(place) == theirs.get(place))
    return Proof(difference.compared, difference.count, len(leave_out), same, examples[:_EXAMPLES_MAX])


def _named(place: Place) -> str:
    return f"{place.store}:{place.space}/{place.name}"


__all__ = ["RunDays", "Twin", "prove_bookkeeping", "prove_clean", "prove_stopped"]
