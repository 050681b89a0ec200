"""Draws: the sessions that chance assigned to an arm, and what each counts for."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from kedge.guard.metrics import Metric
from kedge.model.assignment import Phase
from kedge.model.control_log import Session
from kedge.model.declared_metrics import Verdict
from kedge.model.metrics import Sample
from kedge.support.display import Value

Look = Callable[[Session], tuple[Phase, float] | None]  # a session's phase and share at its assignment
Unseen = dict[tuple[Phase, str], set[str]]  # by unit: the metrics by which it has been bad


class Unit(Value, frozen=True):
    """One session as the tests of a launch take it.

    `seq`: the order of assignment. `unit`: what was drawn, a user or the session. `share`: the probability of the
    canary when it was assigned. `verdicts`: by metric, as its test takes it; None: missing at its deadline; a metric
    for which this session does not count is not there. `is_first`: whether it is the first session of its unit.
    `phase`: in "holdback", after the promotion, the sessions held back are the baseline.
    """

    seq: int
    unit: str
    session: str
    arm: str
    share: float
    at: float
    verdicts: dict[str, float | bool | None]
    is_first: bool = True
    phase: Phase = "canary"


class Draw(msgspec.Struct, frozen=True):
    """A session that chance assigned: its arm, the share then, and when what is observed in it counts for it."""

    session: Session
    phase: Phase
    share: float
    is_canary: bool
    until: float  # from then on the session is of another draw or arm

    @property
    def key(self) -> tuple[Phase, str]:
        """What was drawn, in which phase."""
        return self.phase, self.session.unit

    def verdict(self, metric: Metric, samples: Iterable[Sample]) -> Verdict:
        """Return the verdict of a metric at its deadline, from its samples in the session."""
        begun = self.session.at
        begins = -math.inf if self.session.generation == 1 else begun
        last = begun + metric.deadline
        return metric.verdict(
            [
                sample.value
                for sample in samples
                if sample.arrived <= last and begins <= sample.at < self.until and metric.refusal(sample.value) is None
            ]
        )


def draws_of(generations: Sequence[Session], number: int, look: Look) -> list[Draw]:
    """Return the draws among all generations of one session, in order.

    A session is drawn when it begins, and anew when it begins after its end. What was opened with a deployment, is a
    fork, or was refreshed is no draw: its arm is not chance, or was drawn before.
    """
    found: list[Draw] = []
    before: Session | None = None
    for at, session in enumerate(generations):
        is_fresh = session.generation == 1 if before is None else before.ended
        before = session
        if not is_fresh or session.ended or session.opened_with or session.settings.forked_from:
            continue
        looked = look(session)
        if looked is None or not 0 < looked[1] < 1:
            continue
        later = generations[at:]
        ends = (b.at for a, b in pairwise(later) if a.ended or (number in b.base) != (number in session.base))
        found.append(Draw(session, *looked, number in session.base, next(ends, math.inf)))
    return found


def imputed(metric: Metric, found: Verdict, *, is_canary: bool) -> float | bool:
    """Return a verdict, as its test takes it; a missing one counts against finding a difference.

    It counts bad for the baseline and good for the canary, so that missing verdicts never roll a canary back. A latency
    without an answer is the timeout in both arms.
    """
    if found is not None:
        return found
    return metric.best if is_canary and metric.kind != "latency" else metric.worst


def counted(
    draws: Iterable[Draw],
    metrics: Mapping[str, Metric],
    samples: Mapping[tuple[str, str], Sequence[Sample]],
    after: int,
) -> list[Unit]:
    """Return the units of the draws after a seq; the draws, in order of seq, include the earlier ones of their units.

    Of a unit that was drawn several times, such as a user, its first session counts, and then its first bad one, by
    each metric that is a success or a failure. The samples are given by session and metric.
    """
    found: list[Unit] = []
    bad: Unseen = {}
    for draw in draws:
        is_first = draw.key not in bad
        before = bad.setdefault(draw.key, set())
        verdicts: dict[str, Verdict] = {}
        for name, metric in metrics.items():
            if not is_first and (name in before or not metric.is_binary):
                continue
            verdict = draw.verdict(metric, samples.get((draw.session.session, name), ()))
            is_bad = metric.is_binary and imputed(metric, verdict, is_canary=draw.is_canary) == metric.worst
            if is_first or is_bad:
                verdicts[name] = verdict
            if is_bad:
                before.add(name)
        if verdicts and draw.session.seq > after:
            arm = "canary" if draw.is_canary else "baseline"
            session = draw.session
            names = session.unit, session.session, arm
            found.append(Unit(session.seq, *names, draw.share, session.at, verdicts, is_first, draw.phase))
    return found
