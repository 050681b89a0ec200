"""Context drift while a canary runs: samples of sessions, and how far its heads and searches are from the live ones.

The samples are metrics like any other: declare those that a launch is to compare, by the names in `DRIFT`. They are
taken of every session, once its turns are five minutes old, so their deadline should be above that.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from kedge.guard.mirror import Query, mirrored
from kedge.model.calls import UNABSORBED as UNABSORBED_CALL
from kedge.model.calls import unanswered
from kedge.model.drift import DRIFT, MEMORY_GROWTH, REFUSED, STALE_READS, TRANSLATED, UNABSORBED
from kedge.model.metrics import Sample, Stored
from kedge.model.negotiation import MESSAGE, Verdict
from kedge.model.provenance import TurnRecord
from kedge.model.visibility import View
from kedge.ports.control import SessionFilter
from kedge.ports.provenance import Provenance
from kedge.turns.kernel import Kernel

SETTLED_SECONDS = 300.0  # of a turn: headers are valid so long, and until then a call of it may be under way
EDGES_LOOKED_AT = 10_000
TURNS_AT_ONCE = 2_000
SEQS_AT_ONCE = 500
PAGES_MAX = 10
KEYS, SESSIONS, SPACES = 400, 200, 10_000  # that are looked at

Turns = Sequence[tuple[float, TurnRecord]]


# ── samples of sessions ──


class Recorder:
    """Takes the samples of new turns, a page at each call. It may be made anew: nothing is stored twice."""

    def __init__(self, kernel: Kernel, metrics: Iterable[str]) -> None:
        self._kernel = kernel
        self._metrics = set(metrics) & DRIFT.keys()
        self._after: int | None = None

    def record(self, *, since: float = 0.0) -> int:
        """Store the samples of the next turns that began since a moment; return how many were not stored before."""
        if not self._metrics:
            return 0
        if self._after is None:
            self._after = _last_before(self._kernel, since)
        provenance, now, count = self._kernel.backend.provenance, self._kernel.backend.clock.now(), 0
        for _ in range(PAGES_MAX):
            page = provenance.begun_before(now - SETTLED_SECONDS, self._after, TURNS_AT_ONCE)
            count += self._store([(at, turn) for at, turn in page if turn.session is not None and at >= since], now)
            self._after = page[-1][1].turn if page else self._after
            if len(page) < TURNS_AT_ONCE:
                break
        return count

    def _store(self, turns: Turns, now: float) -> int:
        samples = [
            msgspec.structs.replace(sample, recorded_at=now)
            for sample in samples_of(self._kernel, turns)
            if sample.metric in self._metrics
        ]
        stored = self._kernel.backend.metrics.store(samples) if samples else []
        return sum(each is Stored.STORED for each in stored)


def _last_before(kernel: Kernel, moment: float) -> int:
    """Return a turn after which all turns come that wrote for the first time since a moment."""
    control, provenance = kernel.backend.control, kernel.backend.provenance
    seq = control.seq_at(moment)
    while seq > 0:
        found = provenance.writers_of(range(max(1, seq - SEQS_AT_ONCE + 1), seq + 1))
        if found:
            return max(turn.turn for turn in found.values()) - 1
        seq -= SEQS_AT_ONCE
    return 0


def samples_of(kernel: Kernel, turns: Turns) -> Iterator[Sample]:
    """Yield the samples of turns: one for each turn and metric that it has something to say about."""
    provenance = kernel.backend.provenance
    messages = provenance.count_messages(turn.turn for _, turn in turns)
    for at, turn in turns:
        if turn.turn in messages:
            yield _sample(MEMORY_GROWTH, at, turn, value=messages[turn.turn])
    for (at, turn), share in stale_shares(provenance, turns):
        yield _sample(STALE_READS, at, turn, value=share)
    yield from _lost_calls(kernel, turns)
    yield from _message_verdicts(kernel, turns)


def stale_shares(provenance: Provenance, turns: Turns) -> Iterator[tuple[tuple[float, TurnRecord], float]]:
    """Yield turns with the share of what they read, one by one, that was past its freshness budget as they began.

    Ranges are left out: their log does not name what was in them. So are facts without a budget.
    """
    reads = provenance.reads_of(turn.turn for _, turn in turns)
    seqs = {turn: {seq for log in logs for seq in log.seqs} for turn, logs in reads.items()}
    budgets = provenance.budgets(set().union(*seqs.values())) if seqs else {}
    for at, turn in turns:
        known = [budgets[seq] for seq in seqs.get(turn.turn, ()) if seq in budgets]
        if known:
            yield (at, turn), sum(at > made + seconds for made, seconds in known) / len(known)


def _lost_calls(kernel: Kernel, turns: Turns) -> Iterator[Sample]:
    """Yield a failure for each turn whose call was answered in vain."""
    edges = kernel.backend.provenance.newest_edges(EDGES_LOOKED_AT)
    by_turn: dict[str, list[int]] = {}
    for place, edge in enumerate(edges):
        by_turn.setdefault(edge.turn, []).append(place)
    before = kernel.backend.clock.now() - SETTLED_SECONDS
    calling = [(at, turn) for at, turn in turns if turn.uid in by_turn]
    callees = _callees(kernel, turns, calling)
    for at, turn in calling:
        own = [edges[place] for place in by_turn[turn.uid]]
        lost = unanswered(own, [turn, *callees.get(turn.uid, ())], before)
        if any(tally.metric == UNABSORBED_CALL for tally in lost):
            yield _sample(UNABSORBED, at, turn, value=True)


def _callees(kernel: Kernel, turns: Turns, calling: Turns) -> dict[str, list[TurnRecord]]:
    """Return the turns that these called: they began later, and so are in this page or among the newest."""
    if not calling:
        return {}
    wanted = {turn.uid for _, turn in calling}
    known = {turn.uid: turn for turn in kernel.backend.provenance.newest_turns(TURNS_AT_ONCE * 5)}
    known |= {turn.uid: turn for _, turn in turns}
    found: dict[str, list[TurnRecord]] = {}
    for turn in known.values():
        if turn.parent in wanted:
            found.setdefault(turn.parent or "", []).append(turn)
    return found


def _message_verdicts(kernel: Kernel, turns: Turns) -> Iterator[Sample]:
    """Yield a failure for each message that a turn of these sessions refused, or had to translate."""
    names = {f"{MESSAGE}{Verdict.REFUSE}": REFUSED, f"{MESSAGE}{Verdict.TRANSLATE}": TRANSLATED}
    sessions = {turn.session for _, turn in turns if turn.session is not None}
    for sample in kernel.backend.metrics.of_sessions(sessions, names):
        key = f"{names[sample.metric]}:{sample.session}:{sample.at}"
        yield Sample(names[sample.metric], value=True, at=sample.at, session=sample.session, idempotency=key)


def _sample(metric: str, at: float, turn: TurnRecord, *, value: float | bool) -> Sample:
    return Sample(metric, value, at, turn.session, turn.agent, idempotency=f"{metric}:{turn.uid}")


# ── the canary's state beside the live one ──


def drift_values(
    kernel: Kernel, deployment: str, *, queries: Mapping[str, Sequence[Query]] | None = None
) -> dict[str, float]:
    """Return how far a deployment's state is from the live one, by name, each from 0 to 1; from bounded samples.

    `context.divergence`: share of sampled facts whose head differs. `sessions.divergence`: share of its sessions whose
    memory would lose something in a rollback. `overlap@10.COLLECTION`: mean overlap of mirrored searches. A value that
    has nothing to rest on is left out.
    """
    values = state_shares(kernel, deployment)
    for collection in kernel.backend.vectors.collections():
        scores = mirrored(kernel, deployment, collection.name, (queries or {}).get(collection.name))
        if scores:
            values[f"overlap@10.{collection.name}"] = sum(scores) / len(scores)
    return values


def state_shares(kernel: Kernel, deployment: str) -> dict[str, float]:
    """Return the two divergences of `drift_values`."""
    record = kernel.backend.control.load()
    number = kernel.find(record, deployment, "compare").number
    values: dict[str, float] = {}
    differing, looked = _context(kernel, number)
    if looked:
        values["context.divergence"] = differing / looked
    touched, sessions = _sessions(kernel, number)
    if sessions:
        values["sessions.divergence"] = touched / sessions
    return values


def _context(kernel: Kernel, number: int) -> tuple[int, int]:
    """Return how many of a sample of facts have another head for the canary, of how many that either sees."""
    backend, record = kernel.backend, kernel.backend.control.load()
    live = View(record.epoch, record.live, record.settled)
    canary = View(record.epoch, record.live | record.closure({number}) & record.revocable, record.settled)
    pairs = backend.impact.head_pairs(live, canary, backend.verification.sample_keys(["context"], KEYS))
    seen = [(a, b) for a, b in pairs if a is not None or b is not None]
    return sum((a and a.seq) != (b and b.seq) for a, b in seen), len(seen)


def _sessions(kernel: Kernel, number: int) -> tuple[int, int]:
    """Return how many of a deployment's first sessions hold messages that it influenced, of how many."""
    backend = kernel.backend
    names = {found.session for found in backend.control.sessions(SessionFilter(number=number), None, SESSIONS)}
    if not names:
        return 0, 0
    counts = backend.impact.count_writes(backend.impact.lineages_with([number]), SPACES)
    return len(names & {each.space for each in counts if each.store == "memory"}), len(names)


__all__ = ["Recorder", "drift_values", "samples_of", "stale_shares", "state_shares"]
