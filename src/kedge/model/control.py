"""Control record: deployments, levels and settings, and the legal changes of them."""

from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from kedge.errors import UnknownName, nearest
from kedge.model.attribution import READS, VIEW, Attribution
from kedge.model.declared_metrics import DeclaredMetric
from kedge.model.ladder import LevelEntry, decisive
from kedge.model.levels import Level, stricter
from kedge.model.retention import RetentionPolicy
from kedge.model.rights import DEFAULT_PRESETS, Presets, presets_of
from kedge.support.display import brief

__all__ = ["EXTERNAL", "ControlRecord", "Level", "Revocable", "Status", "stricter"]

EXTERNAL = "external"


class Status(StrEnum):
    """The state of a deployment in its life cycle."""

    STAGED = "staged"
    CANARY = "canary"
    LIVE = "live"
    SETTLED = "settled"
    ROLLED_BACK = "rolled back"
    PURGED = "purged"


class Revocable(msgspec.Struct, frozen=True, omit_defaults=True):
    """A deployment that can still be rolled back, as the control record keeps it.

    `bases` are the deployments that it rests on directly; what those rest on is left out. `lists` is the epoch of the
    change that set its allow- and deny-lists, whose entry in the log holds them (0: it has none). `holdback` is the
    share of the units that a live one is not shown to.
    """

    number: int
    name: str
    status: Status
    kind: str = "release"
    weight: float = 0.0
    revoked: bool = False
    bases: tuple[int, ...] = ()
    artifacts: tuple[str, ...] = ()
    since: float = 0.0
    by: str = ""
    attribution: Attribution = READS
    settle_after: float | None = None  # seconds after its promotion
    lists: int = 0
    holdback: float = 0.0


class ControlRecord(msgspec.Struct, frozen=True, dict=True):
    """The linearizable record of a database. Every change is a new record with the next epoch.

    A number below `next_number` that is nowhere in the record is settled. Of peers it holds numbers only: their names
    lie in the table of deployments. In a database whose upgrade is not finished it is not `compact`: its peers are
    among its deployments, as older processes expect.
    """

    epoch: int = 0
    next_number: int = 1
    deployments: tuple[Revocable, ...] = ()
    purged: frozenset[int] = frozenset()  # no view ever sees them again
    peers: frozenset[int] = frozenset()  # the pseudo-deployments of unsigned peers that can still be rolled back
    hidden_peers: frozenset[int] = frozenset()  # those of them that are rolled back
    entries: tuple[LevelEntry, ...] = ()  # why something stands below full
    presets: dict[str, dict[str, Any]] = {}  # the rights of levels that are not the default ones, as tables
    two_persons: bool = False  # whether two persons loosen off, fallback, and what the guard set
    retention_seconds: float | None = None
    policies: tuple[RetentionPolicy, ...] = ()
    purge_after_seconds: float | None = None  # rolled-back deployments are purged after so long; None: never
    rolled_back_peers: str = "rejoin"  # what happens to new messages of peers that were rolled back
    reconcilers: dict[str, str] = {}  # the external systems that follow artifacts: name to pattern of keys
    metrics: dict[str, DeclaredMetric] = {}  # the declared ones, by name
    compact: bool = True

    @property
    def needs_upkeep(self) -> bool:
        """Whether a setting says that something is reclaimed or purged, or a level entry expires."""
        expires = any(entry.expires is not None for entry in self.entries)
        return bool(self.policies) or self.purge_after_seconds is not None or expires

    @cached_property
    def settled(self) -> frozenset[int]:
        """The numbers that no view hides: the closed ones that were not purged."""
        return frozenset(range(1, self.next_number)).difference(self.by_number, self.peers, self.purged)

    def follow(self, before: "ControlRecord") -> None:
        """Derive what is settled from an earlier record of the same database: little has changed, as a rule."""
        purged = self.purged - before.purged
        standing = self.peers.union(self.by_number)
        kept = before.next_number <= self.next_number and before.purged <= self.purged
        if not kept or not (before.settled.isdisjoint(standing) and before.settled.isdisjoint(purged)):
            return
        closed = before.peers.union(before.by_number, range(before.next_number, self.next_number))
        closed -= standing | self.purged
        self.__dict__["settled"] = before.settled | closed if closed else before.settled

    @cached_property
    def by_number(self) -> dict[int, Revocable]:
        """The revocable deployments by number, without peers."""
        return {deployment.number: deployment for deployment in self.deployments}

    @cached_property
    def rolled_back(self) -> frozenset[int]:
        """The hidden numbers: revoked themselves, or based on one that is."""
        hidden = set(self.hidden_peers)
        for deployment in self.deployments:  # in number order: bases come first
            if deployment.revoked or not hidden.isdisjoint(deployment.bases):
                hidden.add(deployment.number)
        return frozenset(hidden)

    @cached_property
    def revocable(self) -> frozenset[int]:
        """The numbers that are neither settled nor purged nor rolled back."""
        return self.peers.union(self.by_number) - self.rolled_back

    @cached_property
    def live(self) -> frozenset[int]:
        """The numbers that every new session sees, externals included."""
        promoted = {d.number for d in self.deployments if d.status is Status.LIVE}
        return self.peers.union(promoted) - self.rolled_back

    @cached_property
    def externals(self) -> frozenset[int]:
        """The pseudo-deployments of unsigned peers; every view sees them until they are rolled back."""
        return self.peers.union(d.number for d in self.deployments if d.kind == EXTERNAL) - self.rolled_back

    @cached_property
    def attributed_by_view(self) -> frozenset[int]:
        """The deployments that influence every agent's turn whose view sees them."""
        return frozenset(d.number for d in self.deployments if d.attribution == VIEW) - self.rolled_back

    def level(
        self,
        feature: str | None = None,
        *,
        session: str | None = None,
        tool: str | None = None,
        seen: frozenset[int] = frozenset(),
    ) -> Level:
        """Return the strictest level of the entries that match; `seen` are the deployments that a view sees."""
        found = self.decisive(feature, session=session, tool=tool, seen=seen) if self.entries else None
        return Level.FULL if found is None else found.level

    def decisive(
        self,
        feature: str | None = None,
        *,
        session: str | None = None,
        tool: str | None = None,
        seen: frozenset[int] = frozenset(),
    ) -> LevelEntry | None:
        """Return the strictest of the entries that match. A settled deployment is seen by every view."""
        names = {e.scope.name for e in self.entries if e.number and (e.number in seen or e.number in self.settled)}
        return decisive(self.entries, feature=feature, session=session, tool=tool, deployments=names)

    @property
    def below_full(self) -> dict[str, Level]:
        """The features that entries name, with their levels."""
        names = sorted({entry.scope.name for entry in self.entries if entry.scope.kind == "feature"})
        return {feature: self.level(feature) for feature in names}

    @cached_property
    def rights(self) -> Presets:
        """The rights of all levels."""
        return presets_of(self.presets) if self.presets else DEFAULT_PRESETS

    def find(self, name: str) -> Revocable:
        """Return the revocable deployment of this name, or raise `UnknownName`."""
        for deployment in self.deployments:
            if deployment.name == name:
                return deployment
        known = [deployment.name for deployment in self.deployments]
        raise UnknownName(
            f"no revocable deployment is named {brief(name)}{nearest(name, known)}; "
            "`kedge status` lists them (settled and purged ones never change)"
        )

    def peer(self, number: int, name: str) -> Revocable:
        """Return the pseudo-deployment of a peer; the record does not know its name."""
        return Revocable(number, name, Status.LIVE, EXTERNAL, revoked=number in self.hidden_peers)

    def status(self, deployment: Revocable) -> Status:
        """Return the status of a deployment; a rolled-back base makes it rolled back."""
        return Status.ROLLED_BACK if deployment.number in self.rolled_back else deployment.status

    def closure(self, numbers: Iterable[int]) -> frozenset[int]:
        """Return these numbers and those of all their revocable bases."""
        found: set[int] = set()
        frontier = list(numbers)
        while frontier:
            number = frontier.pop()
            if number in found:
                continue
            if number in self.peers:
                found.add(number)
            elif number in self.by_number:
                found.add(number)
                frontier.extend(self.by_number[number].bases)
        return frozenset(found)

    def direct(self, numbers: Iterable[int]) -> tuple[int, ...]:
        """Return the revocable ones among these numbers, without those that others of them rest on."""
        found: list[int] = []
        below: set[int] = set()
        for number in sorted(set(numbers) & (self.peers | self.by_number.keys()), reverse=True):
            if number not in below:  # a base has a lower number than what rests on it
                found.append(number)
                below |= self.closure((number,))
        return tuple(sorted(found))

    def dependants(self, number: int) -> frozenset[int]:
        """Return the numbers of the deployments based on this one, without itself."""
        found = {number}
        for deployment in self.deployments:
            if not found.isdisjoint(deployment.bases):
                found.add(deployment.number)
        return frozenset(found - {number})

    def seen_by(self, base: Iterable[int]) -> frozenset[int]:
        """Return what a reader whose view was fixed to `base` sees now."""
        return frozenset(base) & self.revocable
