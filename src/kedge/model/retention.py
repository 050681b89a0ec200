"""Retention policies: how long the content of superseded writes is kept, and which of it may be reclaimed."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from kedge.errors import PastUnreadable
from kedge.model.compaction import Readable, may_go
from kedge.model.lineage import Lineage
from kedge.model.writes import Head, decode
from kedge.support.display import Value, brief

POLICIES_MAX = 256
IDEMPOTENCY, METRICS, READS, SESSIONS = "idempotency", "metrics", "reads", "sessions"
BOOKKEEPING = (IDEMPOTENCY, METRICS, READS, SESSIONS)  # what is no store and can have a policy: rows that are older go
SECONDS_LEAST = {READS: 3_600.0, SESSIONS: 3_600.0}  # turns that are open go on


class RetentionPolicy(Value, frozen=True):
    """How long the content of superseded writes of a store, or of one of its spaces, is kept.

    `seconds`: None keeps it without limit. A `hold` does so whatever other policies say.
    """

    store: str
    space: str | None = None
    seconds: float | None = None
    hold: bool = False

    @property
    def scope(self) -> str:
        """What the policy is for, in words."""
        if self.store in BOOKKEEPING:
            return self.store
        return f"the store {self.store!r}" + ("" if self.space is None else f", space {self.space!r}")


def policy_of(policies: Iterable[RetentionPolicy], store: str, space: str) -> RetentionPolicy | None:
    """Return the policy that decides for a space: a hold, else the one for the space, else the one for the store."""
    found = [policy for policy in policies if policy.store == store and policy.space in {None, space}]
    return max(found, key=lambda policy: (policy.hold, policy.space is not None), default=None)


def kept_seconds(
    policies: Iterable[RetentionPolicy], store: str, space: str, horizon: float | None, *, unset: float | None = None
) -> float | None:
    """Return for how many seconds superseded content of a space is kept; None: no limit; `unset`: without a policy.

    What is after the `horizon` of reads, in seconds, is kept in any case.
    """
    policy = policy_of(policies, store, space)
    if policy is None:
        return unset
    return None if policy.hold or policy.seconds is None else max(policy.seconds, horizon or 0.0)


class Version(NamedTuple):
    """One write at a key; `lineage` is an id, `has_content` says whether its content is still there."""

    seq: int
    rank: int
    lineage: int
    has_content: bool


def by_key(rows: Iterable[tuple[int, str, int, int, int, object]]) -> list[list[Version]]:
    """Return the versions of each key, from rows (space, name, seq, rank, lineage, whether it has content), by key."""
    return [
        [Version(seq, rank, lineage, bool(has_content)) for _, _, seq, rank, lineage, has_content in group]
        for _, group in groupby(rows, key=itemgetter(0, 1))
    ]


def with_content(versions: Iterable[Version]) -> list[Version]:
    """Return the versions of a key as if all had content: what is decided is about something else of them."""
    return [version._replace(has_content=True) for version in versions]


class Pinned(NamedTuple):
    """What pending replays need: the ranks at which they read, in ascending order, and the inputs themselves."""

    ranks: Sequence[int] = ()
    seqs: frozenset[int] = frozenset()

    def needs(self, first: int, before: int) -> bool:
        """Return whether a replay reads at a rank from `first` on, before `before`."""
        place = bisect_left(self.ranks, first)
        return place < len(self.ranks) and self.ranks[place] < before


def reclaimable(
    versions: Iterable[Version],
    members: Mapping[int, Lineage],
    readable: Readable,
    pinned: Pinned,
    purged: Lineage = frozenset(),
) -> list[int]:
    """Return the seqs of the writes at one key whose content no view can need any more.

    A write is superseded by one of greater (rank, seq) whose lineage is part of its own and what is settled: a view
    that sees the one sees the other, whatever is rolled back or reinstated.
    """
    found: list[int] = []
    seqs: dict[int, int] = {}  # the least seq of each lineage among the writes above
    ranks: dict[int, int] = {}  # the least rank
    for version in sorted(versions, key=lambda version: version[1::-1], reverse=True):
        if version.has_content and version.seq not in pinned.seqs and seqs:
            above = [(at, members[lineage]) for lineage, at in seqs.items()]
            own = members[version.lineage]
            if may_go(version.seq, own, above, readable, purged):
                settled = readable.oldest(version.seq).settled
                until = min(
                    (rank for lineage, rank in ranks.items() if members[lineage] <= own | settled),
                    default=version.rank,
                )
                if not pinned.needs(version.rank, until):
                    found.append(version.seq)
        seqs[version.lineage] = min(version.seq, seqs.get(version.lineage, version.seq))
        ranks[version.lineage] = version.rank
    return found


def as_bytes(moment: float) -> bytes:
    """Return a time in milliseconds as bytes that sort as times do."""
    return max(0, int(moment * 1_000)).to_bytes(8, "big")


def value_of(head: Head) -> Any:
    """Return the value of a head that is not a delete, or raise `PastUnreadable` where its content was reclaimed."""
    return decode(content_of(head.payload, head.key.name, head.seq))


def content_of(payload: bytes | None, name: str, seq: int) -> bytes:
    """Return the content of a write that is not a delete, or raise `PastUnreadable` where it was reclaimed."""
    if payload is None:
        raise PastUnreadable(
            f"the value of {brief(name)} at seq {seq} was superseded, and its content was reclaimed by a retention "
            "policy, irrevocably; read at a later point, or at a named snapshot"
        )
    return payload
