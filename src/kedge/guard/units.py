"""Units of a launch: the sessions that chance assigned, with their arm, share and verdicts at their deadline."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, takewhile
from operator import attrgetter

from kedge.errors import UnknownName, nearest
from kedge.guard.draws import Draw, Unit, counted, draws_of
from kedge.guard.metrics import Metric
from kedge.model.assignment import Lists, Phase, share_of
from kedge.model.control import ControlRecord
from kedge.model.control_log import Session
from kedge.model.metrics import Sample
from kedge.model.visibility import SEQ_MAX
from kedge.support.display import Value, brief
from kedge.turns.kernel import Kernel

__all__ = ["Due", "HardEvent", "Unit", "due", "hard_events"]

PAGE = 1_000  # sessions that are read at once
GRACE_SECONDS = 1.0  # after a deadline: what was stored before it may still be committing
LATE_SECONDS = 7 * 86_400.0  # how long after an event somebody may still tell of it
LOOK_BACK = 1_000  # places of observations: one may be committed after one with a greater place


class Due(Value, frozen=True):
    """Units whose deadline has passed, and the seq up to which all sessions were looked at."""

    units: tuple[Unit, ...]
    upto: int


class HardEvent(Value, frozen=True):
    """An observation of which one is enough to act."""

    metric: str
    session: str
    at: float
    number: int  # its place among the observations


def due(
    kernel: Kernel, deployment: str, metrics: Mapping[str, Metric], *, after: int, now: float, limit: int = PAGE
) -> Due:
    """Return units in order of assignment, from the one after a seq to the first whose deadline has not passed.

    Sessions that chance did not assign are skipped. A unit is due once the longest deadline of these metrics has
    passed; each counts up to its own. The cost grows with the sessions after the seq, and with the earlier sessions of
    their users.
    """
    control = kernel.backend.control
    number = control.number_of(deployment)
    if number is None:
        known = [d.name for d in control.load().deployments]
        raise UnknownName(f"no deployment is named {brief(deployment)}{nearest(deployment, known)}")
    begins = [entry.seq for entry in control.entries_of((deployment,), ("canary", "promote"))]
    tested = {name: metric for name, metric in metrics.items() if metric.is_tested}
    if not begins or not tested:
        return Due((), after)
    stream = _Stream(kernel, number, tested, min(begins))
    after, found = max(after, min(begins) - 1), list[Unit]()
    last = now - GRACE_SECONDS - max(metric.deadline for metric in tested.values())
    while len(found) < limit:
        page = stream.page(after, last)
        if not page:
            break
        found += stream.units(page)
        after = page[-1].seq
    if len(found) > limit:
        del found[limit:]
        after = found[-1].seq
    return Due(tuple(found), after)


class _Stream:
    """The sessions since a canary began, read in pages."""

    def __init__(self, kernel: Kernel, number: int, metrics: Mapping[str, Metric], begins: int) -> None:
        self._kernel = kernel
        self._port = kernel.backend.assignments
        self._number = number
        self._metrics = metrics
        self._begins = begins
        self._records: dict[int, tuple[ControlRecord, Lists]] = {}

    def page(self, after: int, last: float) -> list[Session]:
        """Return the next sessions that were assigned at a moment at the latest, once none of them is in flight."""
        following = self._port.assigned(after, SEQ_MAX, 1)
        if not following or following[0].at > last:
            return []
        upto = self._kernel.backend.control.position().seq
        return list(takewhile(lambda session: session.at <= last, self._port.assigned(after, upto, PAGE)))

    def units(self, page: list[Session]) -> list[Unit]:
        """Return the units among these sessions."""
        first, last = page[0].seq, page[-1].seq
        draws = [draw for draw in self._draws({session.session for session in page}) if draw.session.seq <= last]
        users = {draw.session.settings.unit_id for draw in draws if draw.session.seq >= first} - {None}
        if users:
            earlier = self._port.of_units([user for user in users if user is not None], self._begins - 1, first - 1)
            others = {session.session for session in earlier} - {session.session for session in page}
            draws += [draw for draw in self._draws(others) if draw.session.seq < first]
        draws = [draw for draw in draws if draw.session.seq >= self._begins]
        draws.sort(key=lambda draw: draw.session.seq)
        samples: dict[tuple[str, str], list[Sample]] = {}
        for sample in self._kernel.backend.metrics.of_sessions({d.session.session for d in draws}, self._metrics):
            samples.setdefault((f"{sample.session}", sample.metric), []).append(sample)
        return counted(draws, self._metrics, samples, first - 1)

    def _draws(self, sessions: Iterable[str]) -> Iterator[Draw]:
        generations = self._port.generations(sessions)
        generations.sort(key=attrgetter("session", "generation"))
        for _, own in groupby(generations, key=attrgetter("session")):
            yield from draws_of(list(own), self._number, self._look)

    def _look(self, session: Session) -> tuple[Phase, float] | None:
        found = self._records.get(session.epoch)
        if found is None:
            record = self._kernel.backend.control.record_at(session.seq)
            found = self._records[session.epoch] = record, self._kernel.lists_of(record)
        return share_of(found[0], self._number, session.unit, found[1])


def hard_events(
    kernel: Kernel,
    deployment: str,
    metrics: Mapping[str, Metric],
    *,
    after: int = 0,
    since: float = 0.0,
) -> list[HardEvent]:
    """Return hard safety events in sessions that see a deployment: one is enough to act.

    Give `after` the number of the newest observation before the call before this one, and `since` the start of the
    launch. Concurrent observations are committed out of order, so some that were returned may come again.
    """
    backend = kernel.backend
    number = backend.control.number_of(deployment)
    hard = [metric for metric in metrics.values() if metric.is_hard]
    samples: list[Sample] = []
    for value in ("true", "false"):
        names = [metric.name for metric in hard if metric.is_bad(value == "true")]
        if names:
            samples += backend.metrics.arrived(
                names, value, max(after - LOOK_BACK, 0), since - LATE_SECONDS, 2 * LOOK_BACK
            )
    recent = [sample for sample in samples if sample.session is not None and sample.arrived >= since]
    sessions: dict[str | None, list[Session]] = {}
    for session in backend.assignments.generations({f"{sample.session}" for sample in recent}):
        sessions.setdefault(session.session, []).append(session)
    found = [
        HardEvent(sample.metric, f"{sample.session}", sample.at, sample.number)
        for sample in recent
        if _sees(number, sample, sessions.get(sample.session, []))
    ]
    return sorted(found, key=attrgetter("number"))


def _sees(number: int | None, sample: Sample, generations: list[Session]) -> bool:
    """Return whether a sample's session saw a deployment, when it was observed."""
    begun = [session for session in generations if session.at <= sample.at] or generations[:1]
    return number in sample.seen or any(number in session.base for session in begun[-1:])
