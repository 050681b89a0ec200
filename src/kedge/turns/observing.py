"""Observations of metrics, of a turn and from outside: checked at the door where the metric is declared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec.structs import replace

from kedge.errors import IdempotencyMismatch, InvalidValue, KedgeError, UnknownName
from kedge.model.control import ControlRecord
from kedge.model.control_log import Session
from kedge.model.declared_metrics import OWN, TYPE, check_metric_name
from kedge.model.lineage import EMPTY, Lineage
from kedge.model.observations import (
    REFUSALS_SHOWN,
    Lines,
    Observation,
    ObserveReport,
    Refusal,
    check_free,
    plain_value,
    refusal_in_time,
    refused,
)
from kedge.ports.metrics import Sample, Stored, Tally
from kedge.support.display import brief
from kedge.support.user_warnings import warn_user
from kedge.turns.kernel import Kernel
from kedge.turns.scope import TurnScope

QUALITY = f"{OWN}quality:"  # prefix of the counts of refused observations, by metric; the value is why
UNKNOWN_SESSION = "unknown session"
BATCH = 1_000


class ObservationRefusedWarning(UserWarning):
    """A value of a declared metric was refused at the door: it was counted, and not stored."""


def observe_in_turn(kernel: Kernel, scope: TurnScope, metric: str, value: Any) -> None:
    """Store a sample of a turn's session. What a declared metric refuses is counted and dropped: the agent goes on."""
    name = check_metric_name(metric)
    if name not in scope.record.metrics:
        value = check_free(name, value)
    scope.read_current(lambda _: scope.backend.metrics.observe(_sample_of(kernel, scope, name, value)))


def _sample_of(kernel: Kernel, scope: TurnScope, metric: str, value: Any) -> Sample:
    declared = scope.record.metrics.get(metric)
    if declared is None:
        return scope.sample(metric, check_free(metric, value))
    why = declared.refusal(value)
    if why is None:
        return scope.sample(metric, plain_value(declared, value))
    _warn(
        kernel, f"a value of metric {metric!r} was refused ({why}): {brief(value)}; it {declared.must_be}", metric, why
    )
    return scope.sample(f"{QUALITY}{metric}", why)


def _warn(kernel: Kernel, text: str, metric: str, why: str) -> None:
    """Warn once for each metric and reason in a process: the counts tell the rest."""
    about = f"{QUALITY}{metric}:{why}"
    if about not in kernel.warned:
        kernel.warned.add(about)
        warn_user(text, ObservationRefusedWarning)


def refused_values(kernel: Kernel) -> list[Tally]:
    """Return how many values of each metric were refused, by agent and reason, under the metric's own name."""
    tallies = kernel.backend.metrics.tallies(QUALITY)
    return [replace(tally, metric=tally.metric.removeprefix(QUALITY)) for tally in tallies]


def observe(kernel: Kernel, observation: Observation) -> Stored:
    """Store an observation from outside, or raise why it is refused; say whether it was stored before."""
    found = observe_all(kernel, [observation])[0]
    if isinstance(found, KedgeError):
        raise found
    return found


def observe_many(kernel: Kernel, records: Iterable[Any]) -> Iterator[ObserveReport]:
    """Store records in batches, in order; yield what became of each batch.

    A record is a mapping, or a line of JSON, whose content is its key unless it names one: read twice, it is stored
    once. Empty lines are skipped; the place of a record counts them.
    """
    numbered, lines = enumerate(records, start=1), Lines()
    while part := list(islice(numbered, BATCH)):
        taken: list[tuple[int, Observation]] = []
        refusals: list[Refusal] = []
        for place, record in part:
            try:
                if not isinstance(record, str | bytes) or record.strip():
                    taken.append((place, lines.read(record)))
            except InvalidValue as error:
                refusals.append(Refusal(place, str(error)))
        counts = dict.fromkeys(Stored, 0)
        outcomes = observe_all(kernel, [observation for _, observation in taken])
        for (place, _), outcome in zip(taken, outcomes, strict=True):
            if isinstance(outcome, KedgeError):
                refusals.append(Refusal(place, str(outcome)))
            else:
                counts[outcome] += 1
        refusals.sort(key=lambda refusal: refusal.line)
        yield ObserveReport(
            stored=counts[Stored.STORED],
            repeated=counts[Stored.REPEATED],
            purged=counts[Stored.PURGED],
            refused=len(refusals),
            refusals=tuple(refusals[:REFUSALS_SHOWN]),
        )


def observe_all(kernel: Kernel, observations: Sequence[Observation]) -> list[Stored | KedgeError]:
    """Store observations from outside in one transaction; return what became of each, or the error that refuses it."""
    if not observations:
        return []
    names = {observation.session for observation in observations}
    assignments = kernel.backend.assignments
    known = _Sessions(kernel.backend.control.load(), assignments.generations(names), assignments.carried(names))
    now = kernel.backend.clock.now()
    admitted = [known.admit(kernel, observation, now) for observation in observations]
    stored = kernel.backend.metrics.store([sample for _, sample in admitted])
    found: list[Stored | KedgeError] = []
    for observation, (error, sample), outcome in zip(observations, admitted, stored, strict=True):
        found.append(error or _outcome(observation, sample, outcome))
    return found


def _outcome(observation: Observation, sample: Sample, outcome: Stored) -> Stored | KedgeError:
    if outcome is Stored.REPEATED and observation.idempotency is None:
        return Stored.STORED  # by this call: the answer to its first commit was lost
    if outcome is not Stored.MISMATCH:
        return outcome
    return IdempotencyMismatch(
        f"the idempotency key {brief(sample.idempotency)} was used before with another observation; use another key"
    )


class _Sessions:
    """What the sessions of a batch see, and what their memory carries."""

    def __init__(self, record: ControlRecord, generations: Iterable[Session], carried: Mapping[str, Lineage]) -> None:
        self._record = record
        self._carried = carried
        self._generations: dict[str, list[Session]] = {}
        for session in generations:
            self._generations.setdefault(session.session, []).append(session)

    def admit(self, kernel: Kernel, observation: Observation, now: float) -> tuple[KedgeError | None, Sample]:
        """Return the sample of an observation, or why it is refused and the count of that."""
        name, at = observation.metric, now if observation.at is None else observation.at
        declared, session = self._record.metrics.get(name), observation.session
        key = observation.idempotency or kernel.backend.clock.fresh_id()
        refusal = Sample(
            f"{QUALITY}{name}", "", now, None, observation.agent, idempotency=f"{QUALITY}{key}"
        )  # a file that is read again is not counted again
        if not (generations := self._generations.get(session)):
            error: KedgeError = UnknownName(
                f"no session is named {brief(session)}: nothing was stored; k.sessions() lists those that have begun"
            )
            return error, replace(refusal, value=UNKNOWN_SESSION)
        lineage, seen = self._stamp(session, generations, at)
        refusal = replace(refusal, session=session, lineage=lineage, seen=seen)
        why = refusal_in_time(declared, at, now) or (None if declared is None else declared.refusal(observation.value))
        if why is not None:
            return refused(observation, declared, why), replace(refusal, value=why)
        try:
            given = observation.value
            value = check_free(name, given) if declared is None else plain_value(declared, given)
        except InvalidValue as wrong:
            return wrong, replace(refusal, value=TYPE)
        return None, Sample(name, value, at, session, observation.agent, lineage, seen, now, key)

    def _stamp(self, session: str, generations: Sequence[Session], at: float) -> tuple[Lineage, frozenset[int]]:
        """Return what an observation rests on, and what its session saw then.

        It rests on all that the session has seen or that its memory carries: a purge of any of these erases it.
        """
        begun = [each for each in generations if each.at <= at] or generations[:1]
        bases = EMPTY.union(*(each.base for each in generations))
        lineage = (bases | self._carried.get(session, EMPTY)) - self._record.settled
        return lineage, self._record.seen_by(begun[-1].base)
