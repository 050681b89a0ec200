"""`--json`: exactly one document on stdout, of a shape that scripts can rely on. Adding a key is fine: do it here."""

from pathlib import Path
from typing import Any

import pytest

import kedge
from tests.acceptance.cli import Run

DEPLOYMENT = {
    "name", "number", "status", "kind", "weight", "bases", "artifacts", "digest", "warnings", "note", "created_at",
    "created_by", "since", "by", "reason", "attribution", "pins", "declared", "settle_after", "allow", "deny",
    "holdback",
}  # fmt: skip
ENTRY = {"seq", "epoch", "at", "operation", "kind", "deployment", "by", "reason", "detail", "is_step"}
SNAPSHOT = {"name", "seq", "epoch", "at", "by", "deployment"}
INPUT = {"store", "space", "key", "seq", "rank", "session", "agent", "value", "upto_turn", "person"}
INDICATORS = {
    "rollback_commit_seconds", "rollback_completion_seconds", "consensus_latency_seconds", "vector_consistency_ratio",
    "memory_divergence_ratio", "context_divergence_ratio", "hidden_writes_total", "replay_pending_total",
    "replay_pending_complete", "keys_checked", "leaks", "diverging", "ok",
}  # fmt: skip
ROW = {"key", "value", "seq", "lineage", "at", "origin", "stale", "fresh_for"}
SHOWN = {"view", "store", "space", "entries", "total"}
VIEW = {"session", "deployment", "upto", "seen"}


def of(run: Run, *argv: str, code: int = 0) -> Any:
    result = run(*argv, "--json")
    assert result.code == code, result
    assert result.err == ""
    return result.document


def test_status(run: Run) -> None:
    found = of(run, "status")
    assert set(found) == {
        "url", "at", "epoch", "seq", "last_change", "deployments", "settled", "settled_total", "purged_total",
        "levels", "sessions", "hidden_writes", "replay_pending", "unfinished", "members", "snapshots", "collections",
        "replay_pending_complete", "retention_seconds", "reconcilers", "other_code", "unanswered_calls", "schema",
        "is_standby", "due", "disk", "policies", "purge_after_seconds", "pinning", "not_purged", "slips",
        "refused_values",
        "entries", "requests", "two_persons", "launches", "readiness",
    }  # fmt: skip
    assert [set(deployed) for deployed in found["deployments"]] == [DEPLOYMENT] * 3
    assert set(found["settled"]) == DEPLOYMENT
    assert set(found["last_change"]) == ENTRY
    assert found["levels"] == {"support": "frozen"}
    assert found["sessions"] == 8


def test_status_of_something_unfinished(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        k.rollback("support-v2", verify=False)
    (operation,) = of(run, "status")["unfinished"]
    assert set(operation) == {"kind", "deployment", "operation", "epoch", "at", "by"}
    found = of(run, "recover")
    assert set(found) == {"done", "unfinished", "ok"}
    assert found["ok"] is True
    assert found["unfinished"] == []
    assert len(found["done"]) == 1


def test_plan(run: Run) -> None:
    found = of(run, "plan", "support-v2")
    assert set(found) == {
        "deployment", "status", "epoch", "goes_with_it", "writes_total", "effects", "examples", "keys_total",
        "keys_examined", "stale_keys", "sessions", "agents", "replay_inputs", "sources_inside", "pins",
        "unsearchable", "unsearchable_examples", "reconciles", "absent", "changed", "kept", "targets",
        "unattributed", "unattributed_complete", "unknown_turns",
        "stores", "sessions_total", "turns_total", "turns_examined", "next_turn", "derived",
        "causes_from_seq", "causes_from",
    }  # fmt: skip
    assert found["goes_with_it"] == ["support-v3"]
    assert found["agents"] == ["librarian", "support"]
    assert found["sessions"] == ["s-4", "s-5", "s-6", "s-7"]
    assert found["keys_examined"] == found["keys_total"]
    assert found["stale_keys"] == 1
    assert found["pins"]["support/model"] == "nothing: it was new"
    assert {"store", "space", "writes", "keys_vanish", "keys_fall_back", "keys_reappear", "keys_unchanged"} == set(
        found["effects"][0]
    )
    assert set(found["examples"][0]) == {"store", "space", "key", "from_seq", "to_seq", "to_at", "stale"}
    assert set(found["replay_inputs"][0]) == INPUT


def test_rollback_and_reinstate_and_purge(run: Run) -> None:
    report = of(run, "rollback", "support-v2", "--yes", "--reason", "wrong refunds", "--by", "ann")
    assert set(report) == {
        "deployment", "went_with_it", "operation", "epoch", "seq", "by", "reason", "writes_hidden", "indicators",
        "convergence", "reconciled", "superseded", "unattributed", "unknown_turns", "ok", "verdict",
    }  # fmt: skip
    assert set(report["indicators"]) == INDICATORS
    assert report["convergence"] == {
        "epoch": report["epoch"], "converged": True, "members": 0, "acknowledged": 0, "laggards": [], "seconds": None,
    }  # fmt: skip
    assert (report["ok"], report["by"], report["reason"]) == (True, "ann", "wrong refunds")
    assert report["went_with_it"] == ["support-v3"]
    back = of(run, "reinstate", "support-v2", "--yes")
    assert set(back) == {
        "deployment", "came_back_with_it", "still_hidden", "operation", "epoch", "seq", "by", "reason",
        "writes_visible", "released", "indicators", "reconciled", "waiting", "ok", "verdict",
    }  # fmt: skip
    assert back["ok"] is True
    assert set(back["deployment"]) == DEPLOYMENT
    assert back["came_back_with_it"] == ["support-v3"]
    of(run, "rollback", "support-v2", "--yes")
    gone = of(run, "purge", "support-v2", "--yes")
    assert set(gone) == {"deployment", "went_with_it", "erased_writes", "epoch"}
    assert gone["erased_writes"] > 0


def test_launch(run: Run) -> None:
    for argv in (
        ("deploy", "v9", "-a", "other/prompt=x"),
        ("canary", "v9", "25%"),
        ("settle", "support-v1", "--yes"),
    ):
        found = of(run, *argv)
        assert set(found) in ({"deployment"}, {"deployment", "repeated"})
        assert set(found["deployment"]) == DEPLOYMENT
    promoted = of(run, "promote", "v9", "--yes")
    assert set(promoted) == {"deployment", "shadowed", "written_by_both", "reconciled"}


def test_log(run: Run) -> None:
    found = of(run, "log", "--limit", "3")
    assert set(found) == {"entries"}
    assert [set(entry) for entry in found["entries"]] == [ENTRY] * 3
    assert found["entries"][0]["kind"] == "level"


@pytest.mark.parametrize("store", ["context", "artifacts", "documents", "vectors"])
def test_show_a_range(run: Run, store: str) -> None:
    found = of(run, "show", store, *(["kb"] if store in {"documents", "vectors"} else []))
    assert set(found) == SHOWN
    assert set(found["view"]) == VIEW
    extra = {"artifacts": {"kind", "version", "uri", "digest"}, "vectors": {"norm"}}.get(store, set())
    assert [set(row) for row in found["entries"]] == [ROW | extra] * found["total"]
    assert found["total"] > 0


def test_show_one(run: Run) -> None:
    found = of(run, "show", "vectors", "kb", "v1", "--deployment", "support-v2")
    (row,) = found["entries"]
    assert set(row) == ROW | {"norm", "vector"}
    assert row["vector"] == [1.0, 4.0, 0.0, 1.0]
    assert row["lineage"] == ["support-v1", "support-v2"]
    (row,) = of(run, "show", "context", "case/1", "--session", "s-1")["entries"]
    assert row["value"] == {"state": "open"}
    assert row["stale"] is True


def test_show_memory(run: Run) -> None:
    found = of(run, "show", "memory", "s-5")
    assert set(found) == {"view", "store", "space", "messages"}
    assert [set(message) for message in found["messages"]] == [{*kedge.Message.__struct_fields__}] * 2


def test_diff(run: Run) -> None:
    found = of(run, "diff", "now", "deployment:support-v2")
    assert set(found) == {"same", "a_seen", "b_seen", "a_upto", "b_upto", "spaces"}
    assert found["same"] is False
    assert {"store", "space", "added", "removed", "changed", "same"} == set(found["spaces"][0])
    (context,) = (space for space in found["spaces"] if space["store"] == "context")
    assert [change["key"] for change in context["changed"]] == ["case/1", "case/2", "case/3"]
    assert set(context["added"][0]) == {"key", "a_seq", "b_seq", "a_value", "b_value"}
    assert of(run, "diff", "now", "now")["same"] is True


def test_assignment_and_refresh(run: Run) -> None:
    found = of(run, "assignment", "s-5")
    assert set(found) == {"session", "sees", "fixed_at"}
    assert found["sees"] == ["support-v1", "support-v2"]
    assert of(run, "assignment", "nobody")["fixed_at"] is None
    assert set(of(run, "refresh", "s-1")) == {"session", "sees"}


def test_snapshots(run: Run) -> None:
    assert set(of(run, "snapshot", "now-or-never")["snapshot"]) == SNAPSHOT
    listed = of(run, "snapshot")
    assert {"before-friday", "now-or-never"} <= {snapshot["name"] for snapshot in listed["snapshots"]}
    assert of(run, "snapshot", "--release", "before-friday", "--yes") == {"released": "before-friday"}


def test_settings(run: Run) -> None:
    assert of(run, "level") == {"levels": {"support": "frozen"}}
    assert of(run, "level", "support", "full") == {"levels": {}}
    unset: dict[str, Any] = {"policies": [], "purge_after_seconds": None}
    assert of(run, "retention") == {"retention_seconds": None, **unset}
    assert of(run, "retention", "30d", "--yes") == {"retention_seconds": 2_592_000.0, **unset}
    faq = {"name": "faq", "dim": 8, "metric": "dot", "embedder": "shared/embedder"}
    declare = ("collection", "faq", "--dim", "8", "--metric", "dot")
    assert of(run, *declare) == {"collection": {**faq, "fields": []}}
    assert of(run, *declare, "--field", "lang", "--field", "n") == {"collection": {**faq, "fields": ["lang", "n"]}}
    assert of(run, *declare) == {"collection": {**faq, "fields": ["lang", "n"]}}
    assert {c["name"] for c in of(run, "collection")["collections"]} == {"faq", "kb"}


def test_fsck(run: Run) -> None:
    found = of(run, "fsck", "--full")
    assert set(found) == {"ok", "full", "findings", "checked", "notes"}
    assert found["ok"] is True


def test_drill_in_place(run: Run) -> None:
    found = of(run, "drill", "--in-place")
    assert {"scenario", "shape", "passed", "checks", "stores", "deployment", "url"} <= set(found)
    assert found["passed"] is True


@pytest.mark.parametrize(
    ("argv", "code", "kind"),
    [
        (("plan", "nope"), 2, "UnknownName"),
        (("canary", "support-v2", "7"), 2, "InvalidValue"),
        (("settle", "support-v2", "--yes"), 3, "IllegalTransition"),
        (("rollback", "support-v2"), 2, "ConfirmationNeeded"),
        (("deploy", "support-v2", "-a", "x/prompt=y"), 3, "DuplicateName"),
        (("canary", "support-v2"), 2, "Usage"),
        (("status", "--nope"), 2, "Usage"),
        (("nope",), 2, "Usage"),
    ],
)
def test_an_error_is_one_document_too(run: Run, argv: tuple[str, ...], code: int, kind: str) -> None:
    found = of(run, *argv, code=code)
    assert set(found) == {"error"}
    assert set(found["error"]) == {"kind", "message"}
    assert found["error"]["kind"] == kind
    assert found["error"]["message"]
