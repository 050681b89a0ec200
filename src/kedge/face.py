"""`Kedge`, the public class: one open database."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from kedge.bulk import Columns, ExportReport, LoadReport, open_file
from kedge.bulk import Source as VectorSource
from kedge.bulk.backfill import BackfillReport
from kedge.bulk.backfill import backfill as fill
from kedge.bulk.embed_batches import OnFailure, Options, Source
from kedge.bulk.embedder import Embed
from kedge.bulk.export import export
from kedge.bulk.load import Writer, load
from kedge.bulk.rate_limit import RateLimit
from kedge.deployments import drainage, session_changes, settling
from kedge.deployments import lifecycle as lives
from kedge.deployments.drainage import SessionInfo, SessionsRefreshed
from kedge.deployments.lifecycle import SNAPSHOT_PREFIX, Deployment, PromoteReport
from kedge.deployments.session_changes import Rewind, SessionFork
from kedge.errors import Busy, InvalidValue
from kedge.fleet.member import LEASE_SECONDS, Holds, Member, join
from kedge.fleet.roster import MemberStatus, roster
from kedge.fleet.upkeep import Upkeep
from kedge.fleet.watcher import Watcher
from kedge.guard.guard import Guard
from kedge.guard.ladder import Ladder
from kedge.model.attribution import Attribution
from kedge.model.checks import check_name, check_optional_callables
from kedge.model.choices import LevelName, MetricName, OtherCodePolicy, RefreshPolicy, SafeLevelName, SettlePolicy
from kedge.model.codec import Codec
from kedge.model.control import Level
from kedge.model.filters import check_fields
from kedge.model.fsck.inspection import FsckReport
from kedge.model.numbers import as_integer
from kedge.model.observations import Observation
from kedge.model.reconcile import Reconciled
from kedge.model.retention import RetentionPolicy
from kedge.model.upgrade import UpgradeReport
from kedge.ports.backend import Backend
from kedge.ports.control import Entry, Snapshot
from kedge.ports.metrics import Stored, Tally
from kedge.ports.reconciler import Reconciler
from kedge.ports.resolver import Resolver
from kedge.ports.vectors import METRICS, Collection, Reclaimed
from kedge.recovery import maintenance, policies
from kedge.recovery import plan as plans
from kedge.recovery import purge as purges
from kedge.recovery import reconcile as reconciling
from kedge.recovery import replay as replays
from kedge.recovery import rollback as rollbacks
from kedge.recovery.converge import check_wait
from kedge.recovery.plan import RollbackPlan
from kedge.recovery.purge import PurgeReport
from kedge.recovery.reinstate import ReinstateReport
from kedge.recovery.reinstate import reinstate as undo
from kedge.recovery.replay import Handler, ReplayInput, ReplayReport
from kedge.recovery.resolve import checked_resolvers
from kedge.recovery.retention import ReclaimReport
from kedge.recovery.rollback_report import RollbackReport
from kedge.recovery.verify import Indicators, verify
from kedge.reports.calls import unanswered_calls
from kedge.reports.diff import Diff
from kedge.reports.diff import diff as compare
from kedge.reports.status import SystemStatus
from kedge.reports.status import status as survey_status
from kedge.stores.spaces import find_collection
from kedge.support.callbacks import unfailing
from kedge.support.display import Value, brief
from kedge.turns import code_check, messages, observing, peers, session_assignment
from kedge.turns.hosts import current_agent
from kedge.turns.kernel import Caster, Kernel, actor
from kedge.turns.stop_files import StopFiles
from kedge.turns.turn import Turn
from kedge.turns.turn import turn_of as find_turn
from kedge.turns.view import Point, ReadView, open_view

Progress = Callable[[int, int], None]
DIM_MAX = 65_536
_LIMIT_MAX = 2**63 - 1  # the largest integer of SQLite
LOAD_ROWS = 10_000
EPOCH_POLL_SECONDS = 0.02
STANDBY = ("refuse", "stale")


class Optimized(Value, frozen=True):
    """The result of optimizing a collection: newly indexed rows, and rows and bytes that compaction reclaimed."""

    indexed: int
    reclaimed_rows: int
    reclaimed_bytes: int


class Kedge:
    """An open database. Safe to share between threads; use it as a context manager, or `close()` it."""

    def __init__(
        self,
        backend: Backend,
        *,
        session_ttl: float | None = None,
        reconcilers: Mapping[str, Reconciler] | None = None,
        resolvers: Mapping[str, Resolver] | None = None,
        code: str | Mapping[str, str] | None = None,
        other_code: OtherCodePolicy = "warn",
        read_only: bool = False,
        standby: str = "refuse",
        codec: Codec | None = None,
        stop_files: StopFiles | None = None,
    ) -> None:
        self._kernel = Kernel(backend, session_ttl=session_ttl)
        self._kernel.stop_files = stop_files or StopFiles()
        if standby not in STANDBY:
            raise InvalidValue(f"invalid standby {brief(standby)}: must be one of {', '.join(STANDBY)}")
        self._kernel.standby = standby
        if codec is not None and not isinstance(codec, Codec):
            raise InvalidValue(f"invalid codec {brief(codec)}: must be a kedge.Codec")
        self._kernel.codec = codec
        code_check.configure(self._kernel, code, other_code)
        reconciling.set_reconcilers(self._kernel, reconcilers or {}, declare=not read_only)
        self._kernel.resolvers = checked_resolvers(resolvers)
        self._guard = Guard(self._kernel)
        self._ladder = Ladder(self._kernel)
        self._watcher = Watcher(self._kernel)
        self._upkeep = Upkeep(self._kernel, lambda go_on: maintenance.maintain_in_background(self._kernel, go_on))
        if not read_only:
            self._kernel.consider_upkeep = self._upkeep.consider

    @property
    def guard(self) -> Guard:
        """Metrics, launches, health and service levels."""
        return self._guard

    @property
    def ladder(self) -> Ladder:
        """Level entries: why something stands below full, and who may lift that."""
        return self._ladder

    # ── deployments ──

    def deploy(
        self,
        name: str,
        artifacts: Mapping[str, Any],
        *,
        canary: float | None = None,
        independent: bool = False,
        base: str | None = None,
        by: str | None = None,
        note: str = "",
        attribution: Attribution = "reads",
        settle_after: float | None = None,
        derived_from: ReadView | None = None,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
    ) -> Deployment:
        """Stage a deployment; only turns with `deployment=` see it, unless a canary weight is given.

        It rests on the live deployments whose artifacts it overrides (and on `base`, whatever that holds), and is
        rolled back with them unless it is `independent`. With `attribution="reads"` it influences turns that read one
        of its artifacts (each agent reads its own); with "view", every agent's turn whose view sees it.
        `settle_after`: seconds after its promotion at which it settles; members, further deployments and
        `settle_due()` see to it. `derived_from`: the view whose state a model of it was trained or tuned on; it rests
        on the deployments that this view saw, too.
        `allow` and `deny` name units (the `unit_id` of a session, else the session) that its canary is shown to, or
        not shown to, whatever its weight.
        """
        settling.settle_due(self._kernel)
        return lives.deploy(
            self._kernel,
            name,
            artifacts,
            canary=canary,
            independent=independent,
            base=base,
            by=by,
            note=note,
            attribution=attribution,
            settle_after=settle_after,
            derived_from=derived_from,
            allow=allow,
            deny=deny,
        )

    def canary(
        self,
        name: str,
        weight: float,
        *,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] | None = None,
        by: str | None = None,
    ) -> Deployment:
        """Show a deployment to this share (0 to 1) of new sessions; `allow` and `deny` replace its lists."""
        return lives.start_canary(self._kernel, name, weight, by=by, allow=allow, deny=deny)

    def promote(
        self,
        name: str,
        *,
        holdback: float | None = None,
        by: str | None = None,
        on_step: Callable[[str], object] | None = None,
    ) -> PromoteReport:
        """Show a deployment to every new session, and bring external systems to the new pins.

        `holdback` is a share (0 to 1) of the sessions that see neither it nor what rests on it until it is settled.
        """
        check_optional_callables(on_step=on_step)
        report, entry = lives.promote(self._kernel, name, by=by, holdback=holdback)
        return msgspec.structs.replace(report, reconciled=reconciling.follow(self._kernel, entry, unfailing(on_step)))

    def settle(self, name: str, *, by: str | None = None) -> Deployment:
        """Make a deployment irrevocable: every view sees it, and it leaves all lineages."""
        return lives.settle(self._kernel, name, by=by)

    def settle_due(self) -> list[Deployment]:
        """Settle the deployments whose `settle_after` has passed; return them. A member does so by itself."""
        return settling.settle_due(self._kernel)

    def plan(self, name: str, *, after: int = 0) -> RollbackPlan:
        """Return what a rollback would do; changes nothing. Its listings are of the turns after one, a page of them."""
        return plans.plan(self._kernel, name, after)

    def rollback(
        self,
        name: str,
        *,
        reason: str = "",
        by: str | None = None,
        verify: bool = True,
        hold: Sequence[str] = (),
        wait: float | None = None,
        on_step: Callable[[str], object] | None = None,
    ) -> RollbackReport:
        """Hide all that a deployment caused, in one commit; wait for the members; then verify the stores.

        It waits until each member has acknowledged or its lease has run out, but at most `wait` seconds. `hold` names
        features that are kept at frozen until then. `on_step(text)` is called after each step; if it raises, the
        rollback goes on.
        """
        check_optional_callables(on_step=on_step)
        seconds = None if wait is None else check_wait(wait)
        told = unfailing(on_step)
        return rollbacks.roll_back(
            self._kernel, name, reason=reason, by=by, verified=verify, hold=hold, wait_seconds=seconds, on_step=told
        )

    def reinstate(
        self,
        name: str,
        *,
        reason: str = "",
        by: str | None = None,
        verify: bool = True,
        on_step: Callable[[str], object] | None = None,
    ) -> ReinstateReport:
        """Undo a rollback exactly, release the features that it held, and verify the stores.

        External systems that fail to follow are in the report, and in `status().unfinished`.
        """
        check_optional_callables(on_step=on_step)
        return undo(self._kernel, name, reason=reason, by=by, verified=verify, on_step=unfailing(on_step))

    def purge(
        self, name: str, *, confirm: str | None = None, by: str | None = None, progress: Progress | None = None
    ) -> PurgeReport:
        """Erase what a rolled-back deployment and its dependants caused; `confirm` repeats the name."""
        check_optional_callables(progress=progress)
        return purges.purge(self._kernel, name, confirm=confirm, by=by, progress=unfailing(progress))

    def deployments(self) -> list[Deployment]:
        """Return every deployment ever staged, in the order of staging."""
        return lives.list_all(self._kernel)

    def deployment(self, name: str) -> Deployment:
        """Return one deployment."""
        return lives.show(self._kernel, name)

    def recover(self, *, on_step: Callable[[str], object] | None = None, progress: Progress | None = None) -> list[str]:
        """Finish operations of crashed processes, and external systems that did not follow; return what was done."""
        check_optional_callables(on_step=on_step, progress=progress)
        return rollbacks.recover(self._kernel, on_step=unfailing(on_step), progress=unfailing(progress))

    def reconcile(self, name: str | None = None, *, check: bool = False, by: str | None = None) -> list[Reconciled]:
        """Bring external systems to the current pins, or only `check`: all, or those of one reconciler or artifact."""
        return list(reconciling.reconcile(self._kernel, name, check=check, by=by))

    def reconcilers(self) -> dict[str, str]:
        """Return the declared external systems by name, with the artifacts that each follows."""
        return dict(self._kernel.backend.control.load().reconcilers)

    def forget_reconciler(self, name: str, *, by: str | None = None) -> None:
        """Remove an external system: rollbacks and promotions no longer wait for it."""
        reconciling.forget(self._kernel, name, by=by)

    def status(self) -> SystemStatus:
        """Return the state of the database: deployments, levels, and what is hidden, pending or unfinished."""
        return survey_status(self._kernel)

    def diff(self, a: ReadView, b: ReadView) -> Diff:
        """Return the keys that two views of this database see differently."""
        return compare(a, b)

    def verify(self) -> Indicators:
        """Compute the indicators from samples of the stores."""
        return verify(self._kernel)

    def fsck(self, *, full: bool = False, progress: Progress | None = None) -> FsckReport:
        """Check every invariant on disk; write nothing. Large tables are sampled unless `full`."""
        check_optional_callables(progress=progress)
        return self._kernel.backend.fsck(full=full, progress=progress)

    def upgrade(self, *, progress: Progress | None = None) -> UpgradeReport:
        """Finish the upgrade of a database that an older Kedge made; from then on, older processes cannot write.

        Opening it for writing has already expanded its schema. A stopped upgrade resumes when it is called again.
        """
        port = self._kernel.backend.upgrade
        before = port.state()
        rows = 0 if before.is_current else port.finish(progress)
        return UpgradeReport(before, port.state(), rows)

    # ── turns and views ──

    def turn(
        self,
        session: str | None = None,
        agent: str | None = None,
        *,
        person: str | None = None,
        deployment: str | None = None,
        parent: Turn | Mapping[str, str] | None = None,
        peer: str | None = None,
        refresh: RefreshPolicy | None = None,
        unit_id: str | None = None,
        on_settle: SettlePolicy | None = None,
    ) -> Turn:
        """Begin a turn of an agent or a person, optionally in a session, a deployment or a caller's turn.

        `parent` is the caller's turn in this process, or its headers from another one: the turn joins its session, view
        and lineage.
        `refresh` and `unit_id` are settings of the session, fixed at its first turn. `refresh` says when its view
        changes: "never" (the default), "promoted" (each turn sees what is live, but canaries stay as they are), or
        after so many seconds. `unit_id` (a user, a tenant) is what canaries draw by in place of the session.
        `on_settle` says what happens once a deployment that the turn does not see is settled. By default ("raise"), its
        next operation raises `SettledMeanwhile`. With "continue" it goes on, and sees what was settled. A child does as
        its parent does. A turn that has read and written nothing yet always goes on.
        Inside `kedge.agent("planner")`, a turn without `agent` and `person` is that agent's.
        """
        return Turn(
            self._kernel,
            session=session,
            agent=current_agent() if agent is None and person is None else agent,
            person=person,
            deployment=deployment,
            parent=parent,
            peer=peer,
            refresh=refresh,
            unit_id=unit_id,
            on_settle=on_settle,
        )

    def observe(
        self,
        *,
        session: str,
        metric: str,
        value: Any,
        at: float | datetime | str | None = None,
        agent: str | None = None,
        idempotency: str | None = None,
    ) -> Stored:
        """Store an observation of a session that has begun, from outside a turn: what a judge says an hour later.

        `at`: when it was observed (default: now). A value that the declared metric refuses is counted and raises
        `InvalidValue`. With an `idempotency` key, the same call stores once. Return "stored", "repeated" (it was stored
        before), or "purged" (what the session saw was purged, so nothing is stored).
        """
        given = Observation.of(session, metric, value, at, agent, idempotency)
        return observing.observe(self._kernel, given)

    def turn_of(self, session: str) -> Turn | None:
        """Return the only open turn of a session in this process, or None: where none is open, or several are.

        For callbacks that run without the context of their caller; elsewhere `kedge.current_turn()` knows the turn.
        """
        return find_turn(self._kernel, session)

    def view(self, session: str | None = None, deployment: str | None = None, *, everything: bool = False) -> ReadView:
        """Return a read-only view: what a new session, this session, or a turn inside this deployment sees.

        `everything`: it sees all deployments that are not rolled back, those of all canaries too.
        """
        return open_view(self._kernel, session=session, deployment=deployment, everything=everything)

    def new_session_view(self, point: Point | None = None) -> ReadView:
        """Return a read-only view of what every new session sees: `view()`, and the canaries at 100%."""
        return open_view(self._kernel, point=point, whole_canaries=True)

    def at(
        self, point: Point, session: str | None = None, deployment: str | None = None, *, everything: bool = False
    ) -> ReadView:
        """Return a read-only view as of a snapshot's name, a seq, or a datetime with a time zone."""
        return open_view(self._kernel, session=session, deployment=deployment, point=point, everything=everything)

    def assignment(self, session: str) -> list[str]:
        """Return the deployments that a session sees; a new session is assigned first."""
        check_name("the session", session)
        self._kernel.check_present()
        record, fixed = session_assignment.assign(self._kernel, session)
        return sorted(self._kernel.names(record.seen_by(fixed.base)))

    def refresh(self, session: str, *, by: str | None = None) -> list[str]:
        """Reassign a session: from its next turn on, it sees what a new session would see."""
        check_name("the session", session)
        session_assignment.refresh(self._kernel, session, actor(by))
        return self.assignment(session)

    def end_session(self, session: str, *, by: str | None = None) -> SessionInfo:
        """End a session: its next turn begins it anew, as if it were new. Its memory stays; open turns go on."""
        check_name("the session", session)
        return drainage.end(self._kernel, session, actor(by))

    def fork_session(self, source: str, session: str, *, by: str | None = None) -> SessionFork:
        """Begin a session as a copy of another: it sees the same deployments and the same writes.

        Copies keep lineage, origin and rank: a rollback hides from the fork what it hides from the source.
        """
        check_name("the session", source)
        check_name("the fork", session)
        return session_changes.fork(self._kernel, source, session, actor(by))

    def rewind(self, session: str, to: int, *, by: str | None = None) -> Rewind:
        """Take a session back to a seq: its memory, and the spaces of keyed stores that are named after it.

        What was written after `to` is deleted, what was deleted after it is restored, in one batch.
        """
        check_name("the session", session)
        return session_changes.rewind(self._kernel, session, to, actor(by))

    def undo_rewind(self, ident: str, *, by: str | None = None) -> Rewind:
        """Undo a rewind by its id. Keys that were written since stay as they are."""
        return session_changes.undo_rewind(self._kernel, ident, actor(by))

    def sessions(
        self,
        prefix: str = "",
        *,
        after: str | None = None,
        limit: int = 100,
        seeing: str | None = None,
        not_seeing: str | None = None,
    ) -> list[SessionInfo]:
        """Return sessions in order of name: all, or those that see a deployment, or that do not see it yet."""
        return drainage.sessions(self._kernel, prefix, after, limit, seeing, not_seeing)

    def refresh_sessions(
        self, prefix: str = "", *, seeing: str | None = None, not_seeing: str | None = None, by: str | None = None
    ) -> SessionsRefreshed:
        """Reassign all sessions that see a deployment, or that do not see it yet, as `refresh` does with one."""
        return drainage.refresh(self._kernel, prefix, seeing, not_seeing, actor(by))

    def snapshot(self, name: str, *, by: str | None = None) -> Snapshot:
        """Name the current point, to read at it later. Blocks no reader or writer."""
        check_name("the snapshot name", name)
        if name.startswith(SNAPSHOT_PREFIX):
            raise InvalidValue(
                f"invalid snapshot name {name!r}: the prefix {SNAPSHOT_PREFIX!r} is reserved; choose another"
            )
        return self._kernel.backend.control.take_snapshot(name, actor(by))

    def snapshots(self) -> list[Snapshot]:
        """Return the snapshots, the oldest first."""
        return self._kernel.backend.control.snapshots()

    def release_snapshot(self, name: str, *, by: str | None = None) -> None:
        """Release a snapshot."""
        self._kernel.backend.control.release_snapshot(name, actor(by))

    # ── collections ──

    def collection(
        self,
        name: str,
        *,
        dim: int,
        metric: MetricName = "cosine",
        embedder: str = "shared/embedder",
        fields: Sequence[str] = (),
    ) -> Collection:
        """Declare a collection of vectors, or return an existing one with the same settings.

        `fields` are payload fields that searches often filter by; new fields are added to the existing ones.
        """
        check_name("the collection", name)
        check_name("the embedder", embedder)
        check_fields(fields)
        dim = as_integer("dim", dim, f"an integer from 1 to {DIM_MAX}", least=1, most=DIM_MAX)
        if metric not in METRICS:
            raise InvalidValue(f"invalid metric {brief(metric)}: must be one of {', '.join(METRICS)}")
        backend = self._kernel.backend
        declared = Collection(name, dim, metric, embedder, tuple(fields))
        return backend.vector_writer.declare(declared, backend.clock.now())

    def optimize(self, collection: str | None = None, *, progress: Progress | None = None) -> dict[str, Optimized]:
        """Compact and index the vectors of a collection, or of all; return the results by name.

        Compaction reclaims the space of rows that no view can read: purged, or superseded before the horizon and every
        snapshot. It never blocks readers; it blocks writers only briefly.
        """
        check_optional_callables(progress=progress)
        backend = self._kernel.backend
        if collection is None:
            maintenance.maintain(self._kernel, progress)
        vectors, indexer, compactor = backend.vectors, backend.vector_indexer, backend.vector_compactor
        chosen = vectors.collections() if collection is None else [find_collection(vectors, collection)]
        done = {}
        for found in chosen:
            reclaimed = Reclaimed(0, 0) if compactor is None else compactor.compact(found, progress)
            indexed = 0 if indexer is None else indexer.optimize(found, progress)
            done[found.name] = Optimized(indexed, reclaimed.rows, reclaimed.bytes)
        if collection is None:
            backend.state_collector.collect()
        return done

    def reclaim(self, *, progress: Progress | None = None) -> ReclaimReport:
        """Remove the content of superseded writes, as far as the retention policies allow; return how much that was.

        First it purges the rolled-back deployments that are due (`purge_after`). It goes on where the last call ended.
        Rows and digests stay, so that the journal can still be verified. Once a policy is set, processes that write or
        are members do this in the background.
        """
        check_optional_callables(progress=progress)
        return maintenance.maintain(self._kernel, progress)

    def collections(self) -> list[Collection]:
        """Return the collections by name."""
        return self._kernel.backend.vectors.collections()

    def backfill(
        self,
        deployment: str | None,
        embed: Embed | str,
        *,
        collection: str | None = None,
        source: Source | None = None,
        corpus: str | None = None,
        batch: int = 256,
        rate: float | None = None,
        workers: int = 0,
        dual: Embed | str | None = None,
        follow: float | None = None,
        by: str | None = None,
        progress: Progress | None = None,
        on_failure: OnFailure | None = None,
    ) -> BackfillReport:
        """Embed the documents that lack a vector in the space of a deployment's embedder, inside that deployment.

        `embed(texts)` returns float32 of shape (n, dim); with `workers`, it is called in that many processes. A
        stopped backfill resumes when it is called again. Without a deployment, it fills what is missing in what is
        live. `dual` is the embedder of readers outside the deployment, whose space is then filled too. `follow` polls
        for new documents every so many seconds, until the deployment is settled or rolled back.
        `on_failure(where, why)` is called for each document that fails, when it fails.
        """
        check_optional_callables(progress=progress, on_failure=on_failure)
        options = Options(source, corpus, batch, workers, follow, progress, on_failure)
        rate_limit = RateLimit(rate)
        return fill(
            self._kernel,
            deployment,
            embed,
            collection=collection,
            dual=dual,
            by=by,
            rate_limit=rate_limit,
            options=options,
        )

    def load(
        self,
        collection: str,
        source: str | Path | VectorSource,
        *,
        ids: str | Path | Sequence[str] | None = None,
        vector: str | None = None,
        payload: str | Path | Sequence[str] | None = None,
        document: str | None = None,
        agent: str | None = None,
        person: str | None = None,
        deployment: str | None = None,
        batch: int = LOAD_ROWS,
        again: bool = False,
        progress: Progress | None = None,
    ) -> LoadReport:
        """Load vectors in bulk: a file (.npy, Parquet, Arrow), or a source of `kedge.bulk`, `batch` rows a commit.

        A stopped load resumes when it is called again: batches already loaded are skipped, unless `again`. What the
        agent (by default named like the deployment, else "loader") loads inside a `deployment` is rolled back with it.
        """
        check_optional_callables(progress=progress)
        columns = Columns(ids, vector, payload, document)
        if isinstance(source, str | Path):
            source = open_file(source, columns)
        elif columns != Columns():
            raise InvalidValue("ids, vector, payload and document are for files only; pass them to the source")
        writer = Writer(agent, person, deployment)
        return load(self._kernel, collection, source, writer=writer, batch=batch, again=again, progress=progress)

    def export(
        self,
        collection: str,
        path: str | Path,
        *,
        view: ReadView | None = None,
        where: Mapping[str, Any] | None = None,
        batch: int = LOAD_ROWS,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> ExportReport:
        """Write a collection to a .npy, Parquet or Arrow file that `load` reads; a failed export leaves no file.

        It holds what a view sees (by default, the view of a new session) in the space of the view's embedder.
        """
        check_optional_callables(progress=progress)
        batches = (view or self.view()).vectors(collection).batches(batch, where)
        return export(collection, batches, path, overwrite=overwrite, progress=progress)

    # ── replay, levels, settings ──

    def replay(
        self,
        handler: Handler,
        deployment: str | None = None,
        *,
        agent: str | None = None,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> ReplayReport:
        """Call `handler(turn, input)` once for each source input whose derived results are hidden.

        Inputs that another process is replaying are skipped. `agent` is the agent for inputs whose turn named none:
        those of old databases.
        """
        check_optional_callables(progress=progress)
        return replays.replay(self._kernel, handler, deployment, agent=agent, limit=limit, progress=progress)

    def replay_pending(self, deployment: str | None = None) -> list[ReplayInput]:
        """Return the source inputs whose derived results are hidden and that were not replayed."""
        return replays.pending(self._kernel, deployment)

    def set_level(self, feature: str, level: LevelName, *, reason: str = "", by: str | None = None) -> None:
        """Set what persons say about a feature, "full" to "off": the short form of `k.ladder`. Other entries stay."""
        self._ladder.set_level(feature, level, reason=reason, by=by)

    def levels(self) -> dict[str, Level]:
        """Return the features that level entries name, with their levels."""
        return self._kernel.backend.control.load().below_full

    def set_retention(
        self,
        age: float | None = None,
        *,
        store: str | None = None,
        space: str | None = None,
        hold: bool = False,
        purge_after: float | str | None = None,
        by: str | None = None,
    ) -> None:
        """Set for how many seconds the past is kept; None means without limit.

        Without `store`, it is the horizon: how far back any seq can be read. With one, it is the policy of that store,
        or of one `space` in it: the content of superseded writes that are older may be reclaimed. A `hold` keeps all
        content there, whatever other policies say, and refuses purges of deployments that wrote there.

        `purge_after`, alone: for how many seconds a rolled-back deployment can be reinstated. `reclaim` purges it
        afterwards; "off", the default, keeps it.
        """
        policies.set_policy(self._kernel, age, store=store, space=space, hold=hold, purge_after=purge_after, by=by)

    def drop_retention(
        self, *, store: str, space: str | None = None, hold: bool = False, by: str | None = None
    ) -> None:
        """Remove the policy, or the hold, of a store or of one of its spaces, so that what it kept is kept no longer.

        Without a policy, a store keeps everything.
        """
        policies.drop_policy(self._kernel, store=store, space=space, hold=hold, by=by)

    def retention(self) -> tuple[RetentionPolicy, ...]:
        """Return the retention policies, holds among them."""
        return self._kernel.backend.control.load().policies

    # ── the fleet ──

    def join(
        self,
        name: str | None = None,
        *,
        lease_seconds: float = LEASE_SECONDS,
        safe_level: SafeLevelName = "frozen",
        serves: Sequence[str] = (),
        holds: Holds | None = None,
    ) -> Member:
        """Make this process a member: it acknowledges epochs, and serves nothing while it cannot refresh its lease.

        `serves` names its features, for display. `holds()` returns what it holds outside the stores, as `Held`.
        """
        check_optional_callables(holds=holds)
        return join(
            self._kernel,
            self._watcher,
            name=name,
            lease_seconds=lease_seconds,
            safe_level=safe_level,
            serves=serves,
            holds=holds,
        )

    def add_caster(self, schema: str, start: int, end: int, cast: Caster) -> None:
        """Let this process translate messages of a schema from one version to another: `cast(payload)` returns it."""
        messages.add_caster(self._kernel, schema, start, end, cast)

    def verdicts(self) -> list[Tally]:
        """Return counts of received messages, by verdict, receiver, versions and sender; then of unanswered calls."""
        return messages.verdicts(self._kernel) + unanswered_calls(self._kernel)

    def register_peer(self, peer: str, *, by: str | None = None) -> str:
        """Register an unsigned peer; return the name of the pseudo-deployment that stands for it."""
        return peers.register(self._kernel, peer, by)

    def peers(self) -> list[Deployment]:
        """Return the pseudo-deployments of unsigned peers, in the order of registration."""
        return lives.list_peers(self._kernel)

    def set_rolled_back_peers(self, policy: str, *, by: str | None = None) -> None:
        """Let new messages of peers that were rolled back "rejoin" as `external:<peer>#2`, or "refuse" them."""
        peers.set_rolled_back(self._kernel, policy, by)

    def members(self) -> list[MemberStatus]:
        """Return the members in the order in which they joined."""
        return list(roster(self._kernel))

    # ── watching ──

    @property
    def epoch(self) -> int:
        """The current epoch of the control record."""
        return self._kernel.backend.control.epoch()

    @property
    def is_standby(self) -> bool:
        """Whether this is a standby now, which may lag behind its primary."""
        return self._kernel.backend.is_standby

    def wait_for_epoch(self, epoch: int, *, timeout: float = 30.0) -> None:
        """Wait until this database has reached an epoch: on a standby, until it has a rollback (`report.epoch`).

        Raises `Busy` after `timeout` seconds.
        """
        epoch = as_integer("epoch", epoch, "an epoch, such as report.epoch", least=0)
        deadline = time.monotonic() + timeout
        while (found := self._kernel.backend.control.epoch()) < epoch:
            if time.monotonic() >= deadline:
                raise Busy(
                    f"{self._kernel.backend.url} is at epoch {found} after {timeout:g} s, not {epoch}; try again"
                )
            time.sleep(EPOCH_POLL_SECONDS)

    @property
    def seq(self) -> int:
        """The last seq of the journal."""
        return self._kernel.backend.control.position().seq

    @property
    def url(self) -> str:
        """The address of the database."""
        return self._kernel.backend.url

    @property
    def moved_to(self) -> str | None:
        """The address that the database was moved to, or None."""
        return self._kernel.backend.control.moved_to()

    def log(self, limit: int = 50) -> list[Entry]:
        """Return control changes and the steps of operations, the newest first."""
        most = min(as_integer("limit", limit, "0 or more entries", least=0), _LIMIT_MAX)
        return self._kernel.backend.control.entries(limit=most)

    def on_change(self, callback: Callable[[int], object]) -> Callable[[], None]:
        """Call `callback(epoch)` after each epoch that this process catches up with; return a function that ends it."""
        return self._watcher.add(callback)

    def close(self) -> None:
        """Close the database. Its turns and views cannot be used afterwards."""
        if isinstance(self._kernel.membership, Member):
            self._kernel.membership.leave()
        self._watcher.close()
        self._upkeep.close()
        self._kernel.backend.close()

    def __repr__(self) -> str:
        """Return the address, without asking the database."""
        return f"<Kedge {self._kernel.backend.url}>"

    def __enter__(self) -> Self:
        """Return the Kedge itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the database."""
        self.close()
