"""The oracle: control changes, views, and reads in a view, each by a scan of the whole history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kedge.testing.oracle.history import NOBODY, Change, Names, Refused, World, Write


@dataclass(frozen=True)
class View:
    """The deployments that a reader was given, and how much of the history it reads (None: all, as it grows).

    What it was given stays; what of that is rolled back, it does not see for as long.
    """

    base: Names
    upto: int | None = None


class Oracle:
    """The answers that a Kedge database must give after the calls made on it."""

    def __init__(self) -> None:
        self.history: list[Write | Change] = []
        self.snapshots: dict[str, int] = {}
        self.embedders: dict[str, str] = {}
        self.metrics: dict[str, str] = {}

    def collection(self, name: str, *, metric: str = "cosine", embedder: str = "shared/embedder") -> None:
        """Declare a collection of vectors."""
        self.metrics[name], self.embedders[name] = metric, embedder

    def world(self, upto: int | None = None) -> World:
        """Deployments and sessions now, or after the first `upto` entries."""
        return World(self.history if upto is None else self.history[:upto])

    # ------------------------------------------------------------ control changes

    def deploy(
        self,
        name: str,
        artifacts: Mapping[str, Any],
        *,
        canary: float | None = None,
        independent: bool = False,
        base: str | None = None,
        attribution: str = "reads",
        derived_from: View | None = None,
    ) -> None:
        """Stage `name`: one write an artifact, stamped with `name` and the lineage of the head that it overrides.

        `derived_from`: a view that was just opened.
        """
        world = self.world()
        if name in world.steps:
            raise Refused("DuplicateName", name)
        if independent and base is not None:
            raise Refused("InvalidValue", f"{name} cannot be independent and rest on {base}")
        saw = NOBODY if derived_from is None or independent else self.seen(derived_from) - world.settled
        if saw - world.standing:
            raise Refused("IllegalTransition", f"{name} was derived from state of {sorted(saw - world.standing)}")
        view = self.view(deployment=base)
        beneath = self.heads(View(view.base.union(*map(world.needs, saw))), "artifacts", "")
        overridden = {} if independent else beneath
        below = {key: overridden[key].lineage - world.settled if key in overridden else NOBODY for key in artifacts}
        named = (NOBODY if base is None else frozenset({base}) - world.settled) | saw
        bases = named.union(*below.values())
        if canary is not None:
            self._demand_statuses(bases, "live", "settled")
        by_view = attribution == "view"
        self.history.append(Change("stage", name, artifacts=frozenset(artifacts), names=bases, by_view=by_view))
        for key, value in artifacts.items():
            self.write("artifacts", "", key, value, lineage=below[key] | {name})
        if canary is not None:
            self.canary(name, canary)

    def canary(self, name: str, weight: float) -> None:
        """Start a staged deployment's canary, or change its weight."""
        self._demand(name, "staged", "canary")
        self._demand_statuses(self.world().needs(name) - {name}, "live", "settled")
        self.history.append(Change("canary", name, weight=weight))

    def promote(self, name: str) -> None:
        """Make a staged or canary deployment live: new sessions see it."""
        self._demand(name, "staged", "canary")
        self._demand_statuses(self.world().needs(name) - {name}, "live", "settled")
        self.history.append(Change("promote", name))

    def settle(self, name: str) -> None:
        """Make a live deployment irrevocable."""
        self._demand(name, "live")
        self._demand_statuses(self.world().needs(name) - {name}, "settled")
        self.history.append(Change("settle", name))

    def rollback(self, name: str) -> None:
        """Hide a deployment and all its dependants."""
        self._demand(name, "staged", "canary", "live")
        self.history.append(Change("rollback", name))

    def reinstate(self, name: str) -> None:
        """Restore a deployment, and the dependants that were hidden because of it alone."""
        self._demand(name, "rolled back")
        others = self.world().needs(name) & self.world().marked - {name}
        if others:
            raise Refused("IllegalTransition", f"{name} stands on {sorted(others)}, rolled back")
        self.history.append(Change("reinstate", name))

    def purge(self, name: str) -> None:
        """Remove a rolled-back deployment and its dependants for good, unless a named snapshot can still reach them."""
        self._demand(name, "rolled back")
        going = self.world().dependants(name)
        for snapshot, upto in self.snapshots.items():
            if self.world(upto).standing & going:
                raise Refused("SnapshotInTheWay", snapshot)
        self.history.append(Change("purge", name))

    def external(self, peer: str) -> str:
        """Return the pseudo-deployment that stands for a peer whose word cannot be checked.

        A new one where the last was settled, purged or rolled back: that peers then rejoin is the default.
        """
        world = self.world()
        mine = [name for name in world.externals if name.partition("#")[0] == f"external:{peer}"]
        for name in mine:
            if world.status(name) == "live":
                return name
        name = f"external:{peer}" if not mine else f"external:{peer}#{len(mine) + 1}"
        self.history.append(Change("external", name))
        return name

    def will_hide(self, name: str) -> list[Write]:
        """Return the writes that a rollback would hide that nothing hides yet."""
        world = self.world()
        going = world.dependants(name) & world.standing
        return [
            entry
            for entry in self.history
            if isinstance(entry, Write) and entry.lineage & going and not entry.lineage & world.taken_back
        ]

    def snapshot(self, name: str) -> None:
        """Take a named snapshot of this point."""
        if name in self.snapshots:
            raise Refused("DuplicateName", name)
        self.snapshots[name] = len(self.history)

    def release_snapshot(self, name: str) -> None:
        """Release a named snapshot."""
        del self.snapshots[name]

    def begin_session(
        self, session: str, seen: Names, deployment: str | None = None, *, promoted: bool = False
    ) -> None:
        """Record the observed view of a new session; fail if it is impossible."""
        world = self.world()
        revocable = seen - world.settled
        world.check_assignment(session, revocable, deployment)
        self.history.append(Change("begin", session, names=revocable, inside=deployment, promoted=promoted))

    def begin_root_turn(self, session: str) -> None:
        """Fix a session that has begun to what its root turns see from now on."""
        world = self.world()
        seen = world.sees_next(session)
        if seen != world.sessions[session]:
            self.history.append(Change("begin", session, names=seen, inside=world.inside[session]))

    def fork(self, source: str, session: str, seqs: Sequence[int]) -> None:
        """Begin a session as a copy of another: each visible message and delete, in the order in which they came."""
        world = self.world()
        base = world.sessions[source]
        view = View(base | (world.externals & world.standing))
        copied = [w for w in self.visible(view) if (w.store, w.space) == ("memory", source)]
        copied.sort(key=lambda write: write.position)
        promoted = source in world.promoted
        self.history.append(Change("begin", session, names=base, inside=world.inside[source], promoted=promoted))
        for write, seq in zip(copied, seqs, strict=True):
            self._copy(write, session, write.rank, seq)

    def rewind(self, session: str, after: int, seqs: Sequence[int], of: range | None = None) -> range:
        """Make a session show what the first `after` entries made it show; return the positions of the writes.

        `of`: only where the newest visible write of a key has one of these positions.
        """
        view, left, first = self.view(session), list(seqs), len(self.history)
        keys: dict[str, list[Write]] = {}
        for write in self.visible(view):
            if (write.store, write.space) == ("memory", session):
                keys.setdefault(write.name, []).append(write)
        changed = [writes for writes in self._in_order(keys) if writes[-1].position >= after]
        changed = [writes for writes in changed if of is None or writes[-1].position in of]
        kept = [[write for write in writes if write.position < after] for writes in changed]
        for writes, before in zip(changed, kept, strict=True):
            if not before and not writes[-1].deleted:
                head = writes[-1]
                self.write("memory", session, head.name, None, lineage=NOBODY, deleted=True, origin="source",
                           seq=left.pop(0), rank=head.rank)  # fmt: skip
        for writes, before in zip(changed, kept, strict=True):
            newest = {write.lineage: write for write in before}
            for write in sorted(newest.values(), key=lambda write: (write.rank, write.position)):
                self._copy(write, session, max(write.rank, writes[-1].rank), left.pop(0))
        assert not left, f"{len(left)} writes too many"
        return range(first, len(self.history))

    def _copy(self, write: Write, session: str, rank: int, seq: int) -> None:
        self.write(
            "memory", session, write.name, write.value, lineage=write.lineage, deleted=write.deleted,
            origin=write.origin, provenance=write.provenance, seq=seq, rank=rank,
        )  # fmt: skip

    def _in_order(self, keys: Mapping[str, list[Write]]) -> list[list[Write]]:
        """Messages in the order of a history: of their first writes, whose place a fork and a rewind keep."""
        return [keys[name] for name in sorted(keys, key=int)]

    def refresh(self, session: str, seen: Names) -> None:
        """Record the observed view of a session that is fixed again, inside the deployment it was opened with."""
        self.begin_session(session, seen, self.world().inside.get(session))

    def _demand(self, name: str, *statuses: str) -> None:
        world = self.world()
        if name not in world.steps:
            raise Refused("UnknownName", name)
        if world.status(name) not in statuses:
            raise Refused("IllegalTransition", f"{name} is {world.status(name)}")

    def _demand_statuses(self, bases: Names, *statuses: str) -> None:
        world = self.world()
        for base in bases:
            if world.status(base) not in statuses:
                raise Refused("IllegalTransition", f"it stands on {base}, which is {world.status(base)}")

    # ------------------------------------------------------------ views

    def view(
        self,
        session: str | None = None,
        deployment: str | None = None,
        at: str | int | None = None,
        joined: Names = NOBODY,
    ) -> View:
        """What a session sees; without one, or for one not begun, what is live and the canaries it was seen to join.

        `at` is a snapshot's name or a seq: the answer is then what it would have been at that point.
        """
        upto = None if at is None else self.snapshots[at] if isinstance(at, str) else self.after_seq(at)
        world = self.world(upto)
        begun = world.sees_next(session) if session in world.sessions else None
        if deployment is not None and world.status(deployment) in ("rolled back", "purged"):
            raise Refused("KedgeError", f"{deployment} is {world.status(deployment)}")
        if begun is not None and deployment is not None and deployment not in begun | world.settled | world.externals:
            raise Refused("SessionBegun", f"{session} began without {deployment}")
        base = world.having("live") | joined if begun is None else begun
        if deployment is not None:
            base |= world.needs(deployment)
        base |= world.externals & world.standing
        lost = base & world.standing & self.world().having("purged")
        if upto is not None and lost:
            raise Refused("PastUnreadable", f"{sorted(lost)} purged since")
        return View(base, upto)

    def after_seq(self, seq: int) -> int:
        """The length of the history that ends with the write that was given `seq`."""
        return next(entry.position + 1 for entry in self.history if isinstance(entry, Write) and entry.seq == seq)

    def seen(self, view: View) -> Names:
        """What the view sees as it reads: what it was given and stands, and all that is settled."""
        world = self.world(view.upto)
        return world.settled | (view.base & world.standing)

    # ------------------------------------------------------------ reads

    def visible(self, view: View) -> list[Write]:
        """Every write that the view sees, in history order: those whose whole lineage is seen."""
        seen = self.seen(view)
        entries = self.history if view.upto is None else self.history[: view.upto]
        writes = [entry for entry in entries if isinstance(entry, Write) and entry.lineage <= seen]
        return sorted(writes, key=lambda write: (write.rank, write.position))

    def heads(self, view: View, store: str, space: str, prefix: str = "") -> dict[str, Write]:
        """The newest visible write at each key of a range, deletes included, in history order."""
        heads: dict[str, Write] = {}
        for write in self.visible(view):
            if (write.store, write.space) == (store, space) and write.name.startswith(prefix):
                heads.pop(write.name, None)
                heads[write.name] = write
        if store == "memory":  # a message keeps its place, whatever is written to its key
            return {name: heads[name] for name in sorted(heads, key=lambda name: (self._began(space, name), name))}
        return heads

    def is_present(self, view: View, head: Write | None) -> bool:
        """Whether a head is a value: no delete, and not expired at the time of the view."""
        if head is None or head.deleted:
            return False
        since = self.history[head.position : view.upto]
        return not (head.short_lived and any(isinstance(e, Change) and e.kind == "wait" for e in since))

    def _began(self, space: str, name: str) -> int:
        """The rank of the first write to the key of a message."""
        writes = (entry for entry in self.history if isinstance(entry, Write))
        return next(w.rank for w in writes if (w.store, w.space, w.name) == ("memory", space, name))

    def present(self, view: View, store: str, space: str, prefix: str = "") -> dict[str, Write]:
        """The heads that are values."""
        heads = self.heads(view, store, space, prefix)
        return {name: head for name, head in heads.items() if self.is_present(view, head)}

    def wait(self) -> None:
        """Let so much time pass that all that is short-lived expires."""
        self.history.append(Change("wait", ""))

    def retracted(self, view: View, session: str) -> list[Write]:
        """Messages of a session that stand as tombstones: deleted, or taken from it by a rollback."""
        had = view.base | self.world(view.upto).settled
        newest = {
            write.name: write
            for write in self.history[: view.upto]
            if isinstance(write, Write)
            and (write.store, write.space, write.deleted) == ("memory", session, False)
            and write.lineage <= had
        }
        present = self.present(view, "memory", session)
        return [write for name, write in newest.items() if name not in present]

    # ------------------------------------------------------------ writes

    def write(
        self,
        store: str,
        space: str,
        name: str,
        value: Any,
        *,
        lineage: Names,
        deleted: bool = False,
        origin: Literal["source", "derived"] = "derived",
        provenance: Names = NOBODY,
        seq: int | None = None,
        rank: int | None = None,
        idempotency: str | None = None,
        short_lived: bool = False,
    ) -> Write:
        """Append one write, of any rank and lineage."""
        place = len(self.history)
        rank = place if rank is None else rank
        write = Write(
            place, rank, store, space, name, value, deleted, lineage, origin, provenance, seq, idempotency, short_lived
        )
        self.history.append(write)
        return write
