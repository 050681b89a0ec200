"""Contract of `Control`: one linearizable record, changed by compare-and-set, each operation once."""

import threading
import time

import pytest

from kedge.errors import ArtifactChanged, DuplicateName, OutcomeUnknown, UnknownName
from kedge.model.artifacts import Artifact, as_artifact
from kedge.model.control import ControlRecord, Status
from kedge.model.transitions import stage as rules_stage
from kedge.ports.backend import Backend
from kedge.ports.control import Change, EpochMoved, Release
from kedge.support import failpoints
from kedge.testing.contracts.backend_driver import BackendDriver, Opener, context, put


class ControlContract:
    """Fixtures: `backend`, and `opener`, which opens the same database again."""

    def test_a_new_database_stands_at_epoch_0(self, backend: Backend) -> None:
        assert backend.control.load() == ControlRecord()
        assert backend.control.epoch() == 0

    def test_a_commit_is_seen_by_everyone_at_once(self, backend: Backend, opener: Opener) -> None:
        other = opener()
        assert other.control.load().epoch == 0
        BackendDriver(backend).live("v1")
        assert other.control.load() == backend.control.load()
        assert other.control.load().find("v1").status is Status.LIVE
        assert other.control.epoch() == 2
        other.close()

    def test_what_is_known_here_is_never_older_than_what_was_loaded_or_committed_here(
        self, backend: Backend, opener: Opener
    ) -> None:
        other, reader = opener(), opener()
        assert other.control.known() in (None, ControlRecord()), "it may be loaded as it opens"
        assert other.control.load() == other.control.known()
        driver = BackendDriver(backend)
        for verb in ("stage", "promote", "settle"):
            driver.change(verb, "v1")
            known = backend.control.known()
            assert known is not None
            assert known == reader.control.load(), "as it is stored"
        assert other.control.known() == ControlRecord(), "nobody told it"
        record, found = other.control.standing("s")
        assert (record, record, found) == (backend.control.load(), other.control.known(), None)
        other.close()
        reader.close()

    def test_a_commit_is_a_compare_and_set_on_the_epoch(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.change("stage", "v1")
        stale = driver.decide(backend.control.load(), "promote", "v1")
        driver.change("stage", "v2")
        before = (backend.control.load(), backend.control.position().seq, backend.control.entries())
        with pytest.raises(EpochMoved):
            backend.control.commit(stale)
        assert (backend.control.load(), backend.control.position().seq, backend.control.entries()) == before

    def test_a_refused_commit_leaves_nothing_of_what_goes_with_it(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.change("stage", "v1")
        record = backend.control.load()
        driver.change("stage", "v2")
        stale = Change(
            rules_stage(record, "v3", artifacts=("k",), bases=(), now=1.0, by="x"),
            "op",
            "stage",
            "x",
            "v3",
            release=Release(record.next_number, "v3", "release", "", {}, ()),
            writes=(put("k", 1, store="artifacts"),),
            snapshot="before:v3",
        )
        with pytest.raises(EpochMoved):
            backend.control.commit(stale)
        assert "v3" not in backend.control.names().values()
        assert backend.control.snapshots() == []
        assert backend.journal.range(driver.view({1, 2, 3}), "artifacts", "").heads == []

    def test_of_many_at_once_each_commits_once(self, backend: Backend) -> None:
        lost = []

        def stage(name: str) -> None:
            driver = BackendDriver(backend)
            while True:
                try:
                    driver.change("stage", name)
                except EpochMoved:
                    lost.append(name)
                else:
                    return

        threads = [threading.Thread(target=stage, args=(f"d{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        record = backend.control.load()
        assert record.epoch == 8
        assert sorted(d.name for d in record.deployments) == [f"d{n}" for n in range(8)]
        assert [d.number for d in record.deployments] == list(range(1, 9))

    def test_an_operation_is_applied_once(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        change = driver.decide(backend.control.load(), "stage", "v1", operation="op-1")
        first = backend.control.commit(change)
        driver.change("stage", "v2")
        assert backend.control.commit(change) == first, "though the epoch has moved since"
        assert backend.control.epoch() == 2
        assert len(backend.control.entries(operation="op-1")) == 1

    def test_a_lost_answer_is_resolved_by_the_operation_s_id(self, backend: Backend) -> None:
        driver = BackendDriver(backend)

        def lose() -> None:
            raise OutcomeUnknown("the line broke after the commit")

        failpoints.arm("control:after-commit", lose, nth=1)
        entry = driver.change("stage", "v1", operation="op-1")
        assert (entry.operation, entry.epoch) == ("op-1", 1)
        assert backend.control.epoch() == 1

    def test_an_answer_lost_before_the_commit_is_told_as_unknown(self, backend: Backend) -> None:
        driver = BackendDriver(backend)

        def lose() -> None:
            raise OutcomeUnknown("the line broke before the commit")

        change = driver.decide(backend.control.load(), "stage", "v1", operation="op-1")
        failpoints.arm("control:before-commit", lose, nth=1)
        with pytest.raises(OutcomeUnknown):
            backend.control.commit(change)
        assert backend.control.epoch() == 0
        assert backend.control.commit(change).epoch == 1, "done again, it is done"

    def test_an_entry_says_who_what_and_why(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.change("stage", "v1")
        entry = driver.change("promote", "v1")
        assert (entry.kind, entry.deployment, entry.by, entry.reason) == ("promote", "v1", "contract", "because")
        assert (entry.epoch, entry.is_step, entry.detail) == (2, False, {"n": 1})
        assert backend.control.entries(limit=1) == [entry]
        assert [e.kind for e in backend.control.entries()][:2] == ["promote", "stage"]

    def test_a_step_is_journaled_once(self, backend: Backend) -> None:
        entry = BackendDriver(backend).change("stage", "v1")
        for detail in ({"ok": True}, {"ok": False}):
            backend.control.step(entry.operation, "verified", deployment="v1", by="x", detail=detail)
        steps = [e for e in backend.control.entries(operation=entry.operation) if e.is_step]
        assert [(s.kind, s.detail, s.epoch) for s in steps] == [("verified", {"ok": True}, 1)]
        assert backend.control.epoch() == 1, "a step is no change"

    def test_steps_are_found_by_kind_newest_first(self, backend: Backend) -> None:
        driver, control = BackendDriver(backend), backend.control
        for number, kind in enumerate(("verified", "other", "verified", "failed")):
            driver.change("stage", f"v{number}")
            control.step(f"op-{number}", kind, by="x", detail={"n": number})
        control.begin_session("verified", 4, frozenset(), None, after=-1, by="x")
        found = control.steps(["verified", "failed", "stage", "session"])
        assert [(step.kind, step.detail["n"]) for step in found] == [("failed", 3), ("verified", 2), ("verified", 0)]
        assert all(step.is_step for step in found)
        assert control.steps(["verified", "failed"], limit=2) == found[:2]
        assert control.steps(["verified", "failed"], after=found[1].seq) == found[:1]
        assert control.steps([]) == control.steps(["none"]) == []

    def test_the_record_at_a_seq_is_the_one_that_stood_there(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        stood = {}
        for name in ("v1", "v2"):
            for kind in ("stage", "promote", "roll_back"):
                seq = driver.change(kind, name).seq
                driver.put("k", name)
                stood[seq] = stood[seq + 1] = backend.control.load()
        assert {seq: backend.control.record_at(seq) for seq in stood} == stood
        assert backend.control.record_at(0) == ControlRecord()

    def test_the_log_gives_the_record_of_every_epoch(self, backend: Backend, opener: Opener) -> None:
        driver = BackendDriver(backend)
        stood = {}
        for n in range(40):
            for kind in ("stage", "promote", ("roll_back", "settle")[n % 2], *(("purge",) if n % 4 == 0 else ())):
                seq = driver.change(kind, f"d{n}").seq
                stood[seq] = backend.control.load()
        other = opener()
        for seq, record in stood.items():
            assert backend.control.record_at(seq) == other.control.record_at(seq) == record
        other.close()
        driver.change("stage", "after")
        assert backend.control.record_at(max(stood)) == stood[max(stood)]

    def test_deployments_are_found_by_name_and_by_number(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1", "v2", "external:a", "external:a#2", "external:ab")
        control = backend.control
        assert (control.number_of("v2"), control.number_of("v3")) == (2, None)
        assert control.names([2, 9]) == {2: "v2"}
        assert [r.release.name for r in control.recorded([1, 2])] == ["v1", "v2"]
        assert control.names([]) == {} == dict.fromkeys(control.recorded([]))
        assert control.incarnations("external:a") == {"external:a": 3, "external:a#2": 4}
        changes = [(e.kind, e.deployment) for e in control.entries_of(["v2", "v1"])]
        assert changes == [("promote", "v2"), ("stage", "v2"), ("promote", "v1"), ("stage", "v1")]
        control.step("op", "verified", deployment="v1", by="x")
        assert [e.kind for e in control.entries_of(["v1"])] == ["promote", "stage"], "steps are no changes"
        newest = [control.newest_change(kind) for kind in (None, "stage", "settle")]
        assert [e and (e.kind, e.deployment) for e in newest] == [
            ("promote", "external:ab"),
            ("stage", "external:ab"),
            None,
        ]

    def test_time_and_seq_run_one_way(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        seqs = []
        for n in range(5):
            seqs += [driver.change("stage", f"d{n}").seq, driver.put("k", n)]
        assert seqs == sorted(seqs)
        times = [backend.control.time_of(seq) for seq in seqs]
        assert times == sorted(times)
        assert backend.control.seq_at(times[-1]) == backend.control.position().seq == seqs[-1]
        assert backend.control.seq_at(times[0] - 1) == 0

    def test_names_and_releases_stay_for_ever(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1", "v2")
        driver.change("settle", "v1")
        driver.change("roll_back", "v2")
        driver.change("purge", "v2")
        assert backend.control.names() == {1: "v1", 2: "v2"}
        assert [r.release.name for r in backend.control.recorded()] == ["v1", "v2"]

    def test_a_name_is_used_once(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        with pytest.raises(DuplicateName, match="'v1'"):
            driver.change("stage", "v1")
        assert backend.control.load().next_number == 2

    def test_a_version_label_holds_one_digest_for_ever(self, backend: Backend) -> None:
        def stage(name: str, value: str, key: str = "a/model") -> None:
            record = backend.control.load()
            artifact = as_artifact(key, Artifact(value=value, version="7"))
            release = Release(record.next_number, name, "release", "", {key: artifact}, ())
            after = rules_stage(record, name, artifacts=(key,), bases=(), now=1.0, by="x")
            backend.control.commit(Change(after, f"op-{name}", "stage", "x", name, release=release))

        stage("v1", "weights")
        stage("v2", "weights")
        stage("v3", "others", key="b/model")
        with pytest.raises(ArtifactChanged, match=r"'a/model' version '7' was recorded.*use another version label"):
            stage("v4", "others")
        assert "v4" not in backend.control.names().values()

    def test_snapshots_name_points(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        seq = driver.put("k", 1)
        taken = backend.control.take_snapshot("friday", "x")
        assert (taken.name, taken.seq, taken.epoch, taken.by) == ("friday", seq, 0, "x")
        driver.put("k", 2)
        assert backend.control.snapshots() == [taken]
        past = backend.journal.head(driver.view(upto=taken.seq), context("k"))
        assert past is not None
        assert past.seq == seq
        with pytest.raises(DuplicateName, match="'friday'"):
            backend.control.take_snapshot("friday", "x")
        backend.control.release_snapshot("friday", "y")
        assert backend.control.snapshots() == []
        with pytest.raises(UnknownName, match="'friday'"):
            backend.control.release_snapshot("friday", "y")
        assert [(e.kind, e.by) for e in backend.control.entries(limit=2)] == [
            ("release-snapshot", "y"),
            ("snapshot", "x"),
        ]

    def test_secrets_are_the_database_s_own(self, backend: Backend, opener: Opener) -> None:
        other = opener()
        assert other.control.secret("header_key") == backend.control.secret("header_key")
        assert len(backend.control.secret("header_key")) >= 32
        other.close()

    def test_another_process_is_told_of_a_change(self, backend: Backend, opener: Opener) -> None:
        other = opener()
        hint = other.change_hint()
        BackendDriver(backend).live("v1")
        deadline = time.monotonic() + 10
        while other.change_hint() == hint and time.monotonic() < deadline:
            time.sleep(0.001)  # a notice may take its time
        assert other.change_hint() != hint
        other.close()
