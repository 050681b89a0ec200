"""Gates before the first session: what each finds, and that none passes without having looked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kedge
from kedge import Artifact, InvalidValue, Kedge, UnknownName
from kedge.guard import freeze_probes
from kedge.guard.gate import GateResult
from kedge.model import drills
from kedge.turns.scope import scope_of
from tests.embedders import NARROW, WIDE, Rows, narrow, wide

POSTGRES_ONE_IN = 24
TEXTS = {f"doc-{number:03}": f"text number {number}, about {chr(97 + number % 26)}" for number in range(110)}
OLD, NEW = {"name": "narrow", "dim": NARROW}, {"name": "wide", "dim": WIDE}


class Shelf:
    """A resolver that knows which URIs are there."""

    uris = "models:/*"

    def __init__(self) -> None:
        self.there = {"models:/m/1"}

    def resolve(self, key: str, pin: Artifact, timeout: float) -> bool:  # noqa: ARG002 - the port's signature
        return pin.uri in self.there


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def k(place: str, shelf: Shelf) -> Iterator[Kedge]:
    """Open a database with 110 documents in the narrow space."""
    with kedge.open(place, durability="normal", resolvers={"shelf": shelf}) as opened:
        opened.collection("kb", dim=NARROW)
        pins = {"shared/embedder": OLD, "support/model": Artifact(uri="models:/m/1", digest="sha256:1", kind="model")}
        opened.deploy("v1", pins)
        opened.promote("v1")
        put(opened, TEXTS, narrow)
        yield opened


def put(k: Kedge, texts: dict[str, str], embed: Callable[..., Rows] | None) -> None:
    with k.turn(agent="pipeline") as pipeline:
        for ident, text in texts.items():
            pipeline.documents("kb").put(ident, text)
        if embed is not None:
            pipeline.vectors("kb").upsert(list(texts), embed(list(texts.values())))


def stage(k: Kedge, name: str = "v2", pins: Mapping[str, Any] | None = None) -> None:
    """Stage a new embedder with frozen probes, and what else is given."""
    probes = freeze_probes(TEXTS, wide).to_json()
    k.deploy(name, {"shared/embedder": NEW, "shared/probes": probes, **(pins or {})})


def result(k: Kedge, gate: str, name: str = "v2", **settings: Any) -> GateResult:
    report = k.guard.gates(name, {gate: settings})
    return next(each for each in report.results if each.name == gate)


def log_drill(k: Kedge, kind: str = drills.PASSED, **detail: Any) -> None:
    backend = scope_of(k.view()).backend
    backend.control.step(backend.clock.fresh_id(), kind, by="x", detail=detail)


# ── all together ──


@pytest.mark.both
def test_a_deployment_that_is_ready_passes_every_gate(k: Kedge) -> None:
    stage(k)
    k.backfill("v2", wide)
    log_drill(k)
    before = k.epoch, k.seq
    found = k.guard.gates("v2")
    assert (k.epoch, k.seq) == before, "it changes nothing"
    assert {r.name: r.detail for r in found.results if not r.passed} == {}
    assert [r.name for r in found.results] == ["embedding", "backfill", "targets", "drill"]
    assert found.ok
    assert str(found) == "v2: all 4 gates passed"


def test_what_a_gate_raises_is_a_gate_that_does_not_pass(k: Kedge) -> None:
    stage(k, pins={"shared/probes": {"format": 1}})
    found = result(k, "embedding")
    assert not found.passed
    assert found.detail.startswith("not checked: InvalidValue: invalid probes")


def test_wrong_names_are_refused(k: Kedge) -> None:
    stage(k)
    with pytest.raises(UnknownName):
        k.guard.gates("v3")
    with pytest.raises(InvalidValue, match=r"unknown gate 'drils'.*did you mean 'drill'"):
        k.guard.gates("v2", {"drils": {}})
    with pytest.raises(InvalidValue, match="write a table"):
        k.guard.gates("v2", {"drill": 7})  # type: ignore[dict-item]
    with pytest.raises(InvalidValue, match=r"unknown key 'accross' in \[gates.embedding\] \(did you mean 'across'"):
        k.guard.gates("v2", {"embedding": {"accross": 0.3}})
    with pytest.raises(InvalidValue, match=r"unknown key 'maxage' in \[gates.drill\].*; keys: max_age"):
        k.guard.gates("v2", {"drill": {"maxage": "3d"}})
    with pytest.raises(InvalidValue, match=r"unknown key 'seconds' in \[gates.schemas\]; this gate has none"):
        k.guard.gates("v2", {"schemas": {"seconds": 3}})


# ── embedding ──


@pytest.mark.both
def test_vectors_at_other_ids_are_found(k: Kedge) -> None:
    stage(k)
    k.backfill("v2", wide)
    assert result(k, "embedding").passed
    ids = list(TEXTS)[:5]
    with k.turn(agent="pipeline", deployment="v2") as turn:  # each of five has the vector of another
        rows = wide([TEXTS[ident] for ident in ids])
        turn.vectors("kb").upsert(ids, np.roll(rows, 1, axis=0))
    found = result(k, "embedding")
    assert not found.passed
    assert "5 of 110 probes have moved" in found.detail
    assert set(found.evidence["kb"]["examples"]) == set(ids)


def test_an_embedder_that_serves_another_model_is_found(k: Kedge) -> None:
    stage(k)
    k.backfill("v2", wide)
    assert result(k, "embedding", embed="tests.embedders:wide").evidence["kb"]["compared"] == "embedded now"
    assert "another dimension" in result(k, "embedding", embed="tests.embedders:narrow").detail


def test_documents_that_changed_are_no_probes_any_more(k: Kedge) -> None:
    stage(k)
    put(k, dict.fromkeys(list(TEXTS)[:5], "another text"), None)
    k.backfill("v2", wide)
    found = result(k, "embedding")
    assert found.passed
    assert found.evidence["kb"]["probes"] == 105
    put(k, dict.fromkeys(list(TEXTS)[:11], "another text"), None)
    k.backfill("v2", wide)
    assert result(k, "embedding").detail.startswith("not checked: kb: only 99 of 110 probes are stored")


def test_without_vectors_or_probes_nothing_was_checked(k: Kedge) -> None:
    stage(k)
    assert result(k, "embedding").detail.startswith("not checked: kb: only 0 of 110")
    k.deploy("bare", {"shared/embedder": {"name": "other", "dim": WIDE}})
    found = result(k, "embedding", "bare")
    assert not found.passed
    assert "no probes at 'shared/probes'" in found.detail


def test_probes_of_another_embedder_are_refused(k: Kedge) -> None:
    stage(k, pins={"shared/probes": freeze_probes(TEXTS, wide, embedder="sha256:other").to_json()})
    assert "the probes were frozen with sha256:other" in result(k, "embedding").detail


def test_probes_may_be_a_file(k: Kedge, tmp_path: Path) -> None:
    k.deploy("v2", {"shared/embedder": NEW})
    k.backfill("v2", wide)
    file = tmp_path / "probes.json"
    file.write_text(json.dumps(freeze_probes(TEXTS, wide).to_json()))
    assert result(k, "embedding", probes=str(file)).passed


def test_a_deployment_without_an_embedder_needs_no_probes(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "two"})
    assert [each.name for each in k.guard.gates("v2").results] == ["targets", "drill"]


# ── backfill ──


@pytest.mark.both
def test_documents_without_a_vector_in_the_new_space_are_counted(k: Kedge) -> None:
    stage(k)
    found = result(k, "backfill")
    assert not found.passed
    assert found.evidence["lacking"] == {"kb": 110}
    k.backfill("v2", wide)
    assert result(k, "backfill").passed
    put(k, {"doc-001": "changed since", "new": "a new document"}, None)
    found = result(k, "backfill")
    assert found.evidence["lacking"] == {"kb": 2}
    assert found.evidence["examples"] == ["kb/doc-001", "kb/new"]


def test_a_backfill_that_was_not_looked_at_whole_does_not_pass(k: Kedge) -> None:
    stage(k)
    k.backfill("v2", wide)
    found = result(k, "backfill", seconds=1e-9)
    assert not found.passed
    assert found.detail.startswith("not checked: 0 names")


# ── rollback targets ──


@pytest.mark.both
def test_what_a_rollback_falls_back_to_must_be_there(k: Kedge, shelf: Shelf) -> None:
    k.deploy("v2", {"support/model": Artifact(uri="models:/m/2", digest="sha256:2", kind="model")})
    assert result(k, "targets").passed
    shelf.there.clear()
    found = result(k, "targets")
    assert not found.passed
    assert "fall back to what is gone: support/model" in found.detail


def test_a_target_that_nobody_looks_up_is_not_checked(place: str) -> None:
    with kedge.open(place, durability="normal") as k:
        k.deploy("v1", {"support/model": Artifact(uri="s3://m/1", digest="sha256:1", kind="model"), "a/code": "c1"})
        k.promote("v1")
        k.deploy("v2", {"support/model": Artifact(uri="s3://m/2", digest="sha256:2", kind="model")})
        found = result(k, "targets")
        assert (found.passed, found.detail[:30]) == (False, "not checked: support/model (no")
        k.deploy("v3", {"a/code": Artifact(digest="sha256:3"), "a/new": "text"})
        assert result(k, "targets", "v3").passed


# ── drills ──


def test_a_drill_must_have_passed_within_a_week(place: str, clock: Any) -> None:
    with kedge.open(place, durability="normal", clock=clock) as k:
        k.deploy("v1", {"support/prompt": "one"})
        assert result(k, "drill", "v1").detail.startswith("no drill in place within 7 days")
        log_drill(k)
        clock.time += 6 * 86_400
        assert result(k, "drill", "v1").passed
        assert not result(k, "drill", "v1", max_age="5d").passed
        log_drill(k, drills.FAILED, failed=["unseen"])
        found = result(k, "drill", "v1")
        assert (found.passed, "failed: unseen" in found.detail) == (False, True), "the newest counts"
        log_drill(k)
        clock.time += 8 * 86_400
        assert not result(k, "drill", "v1").passed


# ── schemas ──


def test_agents_that_would_refuse_each_other_are_found(k: Kedge) -> None:
    k.deploy("base", {"support/speaks": {"case": 1}, "billing/speaks": {"case": 1, "sum": 1}})
    k.promote("base")
    k.deploy("v2", {"support/speaks": {"case": 2}})
    found = result(k, "schemas")
    assert not found.passed
    assert "'billing' would refuse 'case' version 2 from 'support'" in found.detail
    k.add_caster("case", 1, 2, lambda payload: payload)
    k.add_caster("case", 2, 1, lambda payload: payload)
    assert result(k, "schemas").passed
    k.deploy("v3", {"support/speaks": {"other": 1}})
    assert "'support' no longer speaks 'case', and 'billing' still does" in result(k, "schemas", "v3").detail


@pytest.mark.both
def test_a_schema_must_allow_the_values_that_are_there(k: Kedge) -> None:
    old = {"type": "object", "properties": {"n": {"type": "integer"}}}
    k.deploy("base", {"context/case/schema": old})
    k.promote("base")
    with k.turn(agent="support") as turn:
        turn.context.put("case/1", {"n": 1})
    k.deploy("v2", {"context/case/schema": old | {"properties": {"n": {"type": "number"}, "why": {"type": "string"}}}})
    found = result(k, "schemas")
    assert (found.passed, found.evidence["values"]) == (True, 1)
    with k.turn(agent="support") as turn:
        turn.context.put("case/2", {"n": 2, "why": 3})
    assert "'case/2' does not fit: $.why: int where string" in result(k, "schemas").detail
    k.deploy("v3", {"context/case/schema": old | {"required": ["n", "why"]}})
    assert "'n', 'why' is required now" in result(k, "schemas", "v3").detail
    k.deploy("v4", {"context/case/schema": old | {"patternProperties": {}}})
    assert result(k, "schemas", "v4").detail.startswith("not checked: context/case/schema uses 'patternProperties'")
