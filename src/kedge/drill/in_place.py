"""In-place drill: on a user's own database, in use, hidden from all readers.

A deployment is staged and never shown to any session. A turn inside it writes one small value to every store and every
collection, all named `drill-…`. These writes are rolled back, reinstated, rolled back again and purged. At each step,
every store is read from inside and from outside the deployment, while live readers run.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from kedge.drill.database import Database, Opener
from kedge.drill.helpdesk import Say
from kedge.drill.inventory import Inventory, PastSample
from kedge.drill.live_readers import LiveReaders
from kedge.drill.probes import AGENT, Probe, Reader, artifact_key, probes_for
from kedge.drill.results import Check, InPlaceReport, StoreReversal, failed
from kedge.errors import KedgeError, Retryable, UnknownName
from kedge.model.control import Status
from kedge.model.drills import FAILED, PASSED
from kedge.model.writes import Key
from kedge.recovery.rollback_report import RollbackReport
from kedge.turns.kernel import actor
from kedge.turns.scope import scope_of
from kedge.turns.turn import Turn
from kedge.turns.view import ReadView

_PREFIX = "drill-"
_NOTE = "a rehearsal in place"
_REASON = "rehearsal"
_CRASHED_AFTER_SECONDS = 3600.0


def rehearse_in_place(open_: Opener, url: str, *, say: Say = lambda _: None) -> InPlaceReport:
    """Rehearse a rollback on a database in use and return the report; always clean up.

    Raise `Retryable` if the database is busy or full; then there is no result.

    The purged deployment stays in the log, and so does the assignment of its one session.
    """
    began = time.perf_counter()
    name = f"{_PREFIX}{os.urandom(6).hex()}"
    with open_(url) as k:
        _clean_up_after_crashes(k, began_before=time.time() - _CRASHED_AFTER_SECONDS)
        rehearsal = _Rehearsal(k, open_, url, name, say)
        stopped_by = ""
        try:
            rehearsal.run()
        except Retryable:
            raise  # busy or full: no result
        except KedgeError as error:
            stopped_by = f"{type(error).__name__}: {error}"
        finally:
            left = _clean_up(k, name)
        report = rehearsal.report(stopped_by, left, time.perf_counter() - began)
        _log(k, report)
        return report


class _Rehearsal:
    def __init__(self, k: Database, open_: Opener, url: str, name: str, say: Say) -> None:
        self._k = k
        self._name = name
        self._say = say
        self._probes = probes_for(k, name, name)
        self._problems: dict[Probe, str] = {}
        self._written: dict[Probe, Any] = {}
        self._seen_outside: list[str] = []
        self._rollbacks: list[RollbackReport] = []
        self._live_readers = LiveReaders(k, open_, url, self._probes)
        self._checks: list[Check] = []
        self._erased = 0
        self._compared = 0

    def run(self) -> None:
        """Run all steps."""
        k, name = self._k, self._name
        others = self._other_deployments()
        with self._live_readers:
            self._say(f"{name} is staged and writes to {len(self._probes)} places")
            k.deploy(name, {artifact_key(name): {"rehearsal": name}}, note=_NOTE)
            before = Inventory(self._k.view())
            sample = PastSample(self._k.view(), self._past(), before.count)
            self._write()
            self._written = self._look_inside()
            self._note(self._written, lambda _, seen: seen is not None, "cannot be read back from inside")
            hidden = k.plan(name).writes_total
            self._roll_back("rolled back")
            self._say("reinstated")
            k.reinstate(name, reason=_REASON)
            self._note(self._look_inside(), lambda p, seen: seen == self._written[p], "was not restored exactly")
            self._roll_back("rolled back again")
            self._say("comparing everything visible before and after")
            self._check_unchanged(before, sample, others)
            self._say("purged")
            self._purge(hidden)

    # ── steps ──

    def _write(self) -> None:
        """Write to every place, in turns that the rehearsal has influenced: other writes would be visible to all."""
        with self._k.turn(session=self._name, agent=self._name, deployment=self._name) as turn:
            self._write_in(turn, [probe for probe in self._probes if probe.store != "cache"])
        with self._k.turn(session=self._name, agent=AGENT) as turn:  # not its own, so that its cache keys are shared
            turn.artifacts.get(artifact_key(self._name))
            self._write_in(turn, [probe for probe in self._probes if probe.store == "cache"])

    def _write_in(self, turn: Turn, probes: list[Probe]) -> None:
        if self._name not in turn.lineage:
            raise KedgeError(
                f"a turn that read {self._name!r} does not have it in its lineage; the drill stopped before any write"
            )
        for probe in probes:
            try:
                probe.write(turn)
            except KedgeError as error:
                self._problems.setdefault(probe, f"writing failed: {error}")

    def _roll_back(self, what: str) -> None:
        self._check_hidden_outside(f"before it was {what}")
        self._say(what)
        self._rollbacks.append(self._k.rollback(self._name, reason=_REASON))
        self._check_hidden(f"after it was {what}")

    def _check_hidden(self, when: str) -> None:
        self._note(self._look_inside(), lambda _, seen: seen is None, f"is still visible inside {when}")
        self._check_hidden_outside(when)

    def _check_hidden_outside(self, when: str) -> None:
        view = self._k.view()
        from_view = {probe: self._read(probe, view) for probe in self._probes}
        for seen in (from_view, self._look()):
            self._note(seen, lambda _, value: value is None, f"is visible outside {when}")
            self._seen_outside += [f"{p.store} {p.space} {when}" for p, value in seen.items() if value is not None]

    # ── reading ──

    def _look_inside(self) -> dict[Probe, Any]:
        return self._look(self._name)

    def _look(self, session: str | None = None) -> dict[Probe, Any]:
        """Read each place in a turn of its own: what it reads in one place may end a turn."""
        seen: dict[Probe, Any] = {}
        for probe in self._probes:
            with self._k.turn(session=session, agent=AGENT) as turn:
                seen[probe] = self._read(probe, turn)
        return seen

    def _read(self, probe: Probe, reader: Reader) -> Any:
        try:
            return probe.read(reader)
        except Retryable:
            raise
        except Exception as error:  # noqa: BLE001 - a store that cannot be read is a finding, whatever the reason
            self._problems.setdefault(probe, f"reading failed: {error}")
            return None

    def _note(self, seen: dict[Probe, Any], right: Callable[[Probe, Any], bool], problem: str) -> None:
        """Record the problem for each place where the value is not right."""
        for probe, value in seen.items():
            if not right(probe, value):
                self._problems.setdefault(probe, problem)

    # ── what must not change ──

    def _other_deployments(self) -> list[tuple[str, Status]]:
        return [(d.name, d.status) for d in self._k.deployments() if d.name != self._name]

    def _past(self) -> ReadView:
        return self._k.at(f"before:{self._name}")

    def _check_unchanged(self, before: Inventory, sample: PastSample, others: list[tuple[str, Status]]) -> None:
        """Check that every key is unchanged, or was changed by a later write of another writer."""
        now, past = self._k.view(), self._past()
        self._check(
            "past_stable",
            "The snapshot taken before the rehearsal is unchanged at its end",
            f"{sample.count} keys read at before:{self._name}, twice",
            passed=sample.is_same(past),
        )
        changed = list(before.changes(now, past))
        wrong = [key for key in changed if self._is_ours(key) or not _is_later(now, key, past.upto)]
        self._compared = before.count
        detail = f"{before.count} keys compared, {len(changed)} written by others in between"
        if self._other_deployments() != others:
            detail = "not comparable: another deployment changed its status; past_stable covers this check"
            wrong.clear()
        self._check(
            "nothing_else_changed",
            "Everything visible is unchanged, except what others wrote in between",
            detail + "".join(f"; {key.store}:{key.space}/{key.name} is wrong" for key in wrong[:5]),
            passed=not wrong,
        )

    def _is_ours(self, key: Key) -> bool:
        return self._name in (key.space, key.name) or key.name == artifact_key(self._name)

    def _purge(self, hidden: int) -> None:
        self._erased = self._k.purge(self._name, confirm=self._name).erased_writes
        self._check_hidden("after the purge")
        self._check(
            "purged_exactly",
            "The purge erased exactly the rehearsal's writes",
            f"{hidden} writes planned, {self._erased} erased",
            passed=hidden == self._erased,
        )

    # ── the report ──

    def _check(self, name: str, claim: str, detail: str, *, passed: bool) -> None:
        self._checks.append(Check(name, claim, passed, detail))

    def report(self, stopped_by: str, left: str, seconds: float) -> InPlaceReport:
        """Return what was found; `stopped_by` is the error that ended it early, `left` what could not be cleaned up."""
        readers = self._live_readers
        self._check(
            "finished", "The rehearsal completed all steps", stopped_by or "all steps done", passed=not stopped_by
        )
        self._check(
            "unseen",
            "No reader outside saw any of its writes",
            "; ".join([*self._seen_outside, *readers.leaks][:5]) or "checked in every store, at every step",
            passed=not self._seen_outside and not readers.leaks,
        )
        self._check(
            "live_readers_undisturbed",
            "Live readers ran without errors",
            "; ".join(readers.errors[:3]) or f"{readers.reads} reads, by views, turns and another connection",
            passed=readers.reads > 0 and not readers.errors,
        )
        self._check(
            "rollback_verified",
            "Both rollbacks were verified in the stores",
            "; ".join(report.verdict for report in self._rollbacks),
            passed=bool(self._rollbacks) and all(report.ok for report in self._rollbacks),
        )
        self._check(
            "cleaned_up", "No write of the rehearsal is left", left or f"{self._erased} writes erased", passed=not left
        )
        last = self._rollbacks[-1].indicators if self._rollbacks else None
        return InPlaceReport(
            url=self._k.url,
            deployment=self._name,
            stores=[
                StoreReversal(p.store, p.space, p not in self._problems, self._problems.get(p, ""))
                for p in self._probes
            ],
            reads_by_live_readers=readers.reads,
            keys_compared=self._compared,
            rollback_commit_seconds=None if last is None else last.rollback_commit_seconds,
            rollback_completion_seconds=None if last is None else last.rollback_completion_seconds,
            erased_writes=self._erased,
            seconds=round(seconds, 3),
            checks=self._checks,
        )


def _log(k: Database, report: InPlaceReport) -> None:
    """Log the verdict: launches ask for a drill that passed within a week."""
    backend = scope_of(k.view()).backend
    detail = {
        "scenario": report.scenario,
        "stores": len(report.stores),
        "failed": failed(report.checks) + [f"{s.store}:{s.space}" for s in report.stores if not s.reversible],
        "seconds": report.seconds,
        "rollback_commit_seconds": report.rollback_commit_seconds,
        "rollback_completion_seconds": report.rollback_completion_seconds,
    }
    kind = PASSED if report.passed else FAILED
    operation = backend.clock.fresh_id()
    backend.control.step(operation, kind, deployment=report.deployment, by=actor(None), detail=detail)


def _is_later(view: ReadView, key: Key, at_seq: int | None) -> bool:
    """Return whether the newest visible write at a key, including a delete, came after a seq."""
    scope = scope_of(view)
    head = scope.read(lambda v: scope.backend.journal.head(v, key))
    return head is not None and at_seq is not None and head.seq > at_seq


def _clean_up_after_crashes(k: Database, *, began_before: float) -> None:
    """Purge the leftovers of killed rehearsals."""
    for deployment in k.deployments():
        if (
            deployment.name.startswith(_PREFIX)
            and deployment.note == _NOTE
            and deployment.status is not Status.PURGED
            and deployment.created_at < began_before
        ):
            _clean_up(k, deployment.name)


def _clean_up(k: Database, name: str) -> str:
    """Roll back and purge a rehearsal from any step; return what failed, or an empty string."""
    try:
        status = k.deployment(name).status
    except UnknownName:
        return ""
    try:
        if status not in {Status.ROLLED_BACK, Status.PURGED}:
            k.rollback(name, reason=_REASON)
        if status is not Status.PURGED:
            k.purge(name, confirm=name)
    except KedgeError as error:
        return f"cannot purge {name} ({error}); run `kedge purge {name}` later"
    return ""


__all__ = ["rehearse_in_place"]
