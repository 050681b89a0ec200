"""Backfill: each document once in the new space, after any interruption; no reader meets a foreign space."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

import kedge
from kedge import InvalidValue, InvalidVector, Kedge, ReplayInput, Turn, UnknownName
from kedge.bulk.rate_limit import RateLimit
from tests.embedders import NARROW, WIDE, Rows, narrow, picky, wide
from tests.processes import run

POSTGRES_ONE_IN = 24
TEXTS = {f"doc-{number:03}": f"text number {number}" for number in range(40)}


@pytest.fixture
def k(place: str) -> Iterator[Kedge]:
    """Open a database with forty documents in the narrow space, and a canary that brings the wide one."""
    with kedge.open(place, durability="normal") as opened:
        opened.collection("kb", dim=NARROW)
        opened.deploy("narrow", {"shared/embedder": {"name": "narrow", "dim": NARROW}})
        opened.promote("narrow")
        opened.settle("narrow")
        put(opened, TEXTS, narrow)
        opened.deploy("wide", {"shared/embedder": {"name": "wide", "dim": WIDE}}, canary=1.0)
        yield opened


def put(k: Kedge, texts: dict[str, str], embed: Callable[[Sequence[str]], Rows] | None, **turn: Any) -> None:
    """Take documents in as a pipeline does: source writes, and their vectors."""
    with k.turn(agent="pipeline", **turn) as pipeline:
        for ident, text in texts.items():
            pipeline.documents("kb").put(ident, text)
        if embed is not None:
            pipeline.vectors("kb").upsert(list(texts), embed(list(texts.values())), [{"of": i} for i in texts])


def found(view: Any, texts: dict[str, str], embed: Callable[[Sequence[str]], Rows]) -> set[str]:
    """Return the ids that a search by their own text finds best, and perfectly."""
    hits = {ident: view.vectors("kb").search(embed([text])[0], k=1) for ident, text in texts.items()}
    return {ident for ident, (hit, *_) in hits.items() if hit.id == ident and hit.score > 0.999}


def writes_inside(k: Kedge, name: str = "wide") -> int:
    return sum(effect.writes for effect in k.plan(name).effects if effect.store == "vectors")


def unembedded(view: Any, embed: Callable[[Sequence[str]], Rows]) -> int:
    return int(view.vectors("kb").search(embed(["x"])[0]).count_unembedded())


# ── the two spaces ──


def test_a_backfill_fills_the_space_of_the_canary_and_no_other(k: Kedge) -> None:
    inside, outside = k.view(deployment="wide"), k.view()
    assert unembedded(inside, wide) == len(TEXTS)
    report = k.backfill("wide", wide, batch=7)
    assert (report.embedded, report.outside, report.unchanged, report.failed, report.ok) == (40, 0, 0, (), True)
    assert found(inside, TEXTS, wide) == set(TEXTS)
    assert found(outside, TEXTS, narrow) == set(TEXTS)
    assert (unembedded(inside, wide), unembedded(outside, narrow)) == (0, 0)
    (hit,) = inside.vectors("kb").search(wide(["text number 7"])[0], k=1, where={"of": "doc-007"})
    assert hit.lineage == {"wide"}, "payloads go along, and the deployment is to blame"
    for view, query in ((inside, narrow), (outside, wide)):
        with pytest.raises(InvalidVector, match="dimensions"):
            view.vectors("kb").search(query(["x"])[0])
    k.rollback("wide")
    assert found(k.view(), TEXTS, narrow) == set(TEXTS)


def test_a_second_run_finds_all_done(k: Kedge) -> None:
    k.backfill("wide", wide)
    seq = k.seq
    report = k.backfill("wide", wide)
    assert (report.embedded, report.unchanged, k.seq) == (0, 40, seq)


def test_what_was_changed_or_came_meanwhile_is_embedded_anew(k: Kedge) -> None:
    k.backfill("wide", wide)
    changed = {"doc-003": "another text", "doc-new": "quite new"}
    put(k, changed, None)
    with k.turn(person="ann") as turn:
        turn.documents("kb").delete("doc-004")
    assert k.backfill("wide", wide).embedded == 2
    assert found(k.view(deployment="wide"), changed, wide) == set(changed)


def test_a_vector_that_somebody_outside_writes_over_it_is_written_over_again(k: Kedge) -> None:
    k.backfill("wide", wide)
    with k.turn(agent="pipeline") as turn:
        turn.vectors("kb").upsert(["doc-005"], narrow([TEXTS["doc-005"]]))
    assert unembedded(k.view(deployment="wide"), wide) == 1
    assert k.backfill("wide", wide).embedded == 1
    assert unembedded(k.view(deployment="wide"), wide) == 0
    assert found(k.view(), TEXTS, narrow) == set(TEXTS)


def test_a_document_that_changes_while_it_is_embedded_is_embedded_again(k: Kedge) -> None:
    texts = dict(TEXTS)

    def slow(batch: list[str]) -> Rows:
        if TEXTS["doc-009"] in batch and texts["doc-009"] == TEXTS["doc-009"]:
            texts["doc-009"] = "changed under its feet"
            put(k, {"doc-009": texts["doc-009"]}, None)
        return wide(batch)

    assert k.backfill("wide", slow).embedded == len(TEXTS) + 1
    assert found(k.view(deployment="wide"), texts, wide) == set(texts)


def test_and_so_it_is_when_the_run_was_stopped_there(k: Kedge) -> None:
    texts = TEXTS | {"doc-009": "changed under its feet"}

    def stopped(batch: list[str]) -> Rows:
        if TEXTS["doc-009"] in batch:
            put(k, {"doc-009": texts["doc-009"]}, None)
        if TEXTS["doc-030"] in batch:
            raise KeyboardInterrupt
        return wide(batch)

    with pytest.raises(KeyboardInterrupt):
        k.backfill("wide", stopped, batch=10)
    report = k.backfill("wide", wide, batch=10)
    assert (report.unchanged, report.embedded) == (29, 11), "the vector is newer than the document, yet of another text"
    assert found(k.view(deployment="wide"), texts, wide) == set(texts)


# ── interruptions ──


def run_cli(place: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "kedge.cli.main", "backfill", "wide", "--db", place, *options, **environment)


@pytest.mark.parametrize(
    "point", ["append:before-rows:1", pytest.param("append:rows:3", marks=pytest.mark.both), "append:heads:5"]
)
def test_killed_in_the_middle_it_goes_on_without_a_double_or_a_hole(k: Kedge, place: str, point: str) -> None:
    options = ("--embedder", "tests.embedders:wide", "--batch", "6")
    killed = run_cli(place, *options, KEDGE_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = writes_inside(k)
    assert done == 6 * (int(point.rpartition(":")[2]) - 1)
    report = k.backfill("wide", wide, batch=6)
    assert (report.unchanged, report.embedded) == (done, len(TEXTS) - done)
    assert writes_inside(k) == len(TEXTS)
    assert found(k.view(deployment="wide"), TEXTS, wide) == set(TEXTS)
    assert k.fsck(full=True).findings == ()


def test_a_rollback_in_the_middle_ends_it(k: Kedge) -> None:
    def embed(batch: list[str]) -> Rows:
        if TEXTS["doc-020"] in batch:
            k.rollback("wide")
        return wide(batch)

    with pytest.raises(kedge.RolledBack):
        k.backfill("wide", embed, batch=10)
    k.reinstate("wide")
    assert k.backfill("wide", wide).unchanged == 20


def test_a_settling_in_the_middle_is_taken_in_stride(k: Kedge) -> None:
    k.deploy("other", {"other/prompt": "x"}, canary=1.0)

    def embed(batch: list[str]) -> Rows:
        if TEXTS["doc-020"] in batch and "other" in {d.name for d in k.deployments() if d.status == "canary"}:
            k.promote("other")
            k.settle("other")
        return wide(batch)

    assert k.backfill("wide", embed, batch=10).embedded == len(TEXTS)


def test_progress_counts_up_to_the_whole(k: Kedge) -> None:
    told: list[tuple[int, int]] = []
    k.backfill("wide", wide, batch=16, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (40, 40)
    assert told == sorted(told)


def test_a_rate_is_kept(k: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("kedge.face.RateLimit", partial(RateLimit, now=lambda: sum(slept), sleep=slept.append))
    k.backfill("wide", wide, batch=10, rate=20)
    assert slept == pytest.approx([0.5, 0.5, 0.5])


def test_the_log_tells_of_it(k: Kedge) -> None:
    k.backfill("wide", wide, by="ann")
    entry = k.log(1)[0]
    assert (entry.kind, entry.deployment, entry.by) == ("backfill", "wide", "ann")
    assert entry.detail == {"collections": ["kb"], "embedded": 40, "outside": 0}


# ── the embedder ──


def test_processes_embed(k: Kedge) -> None:
    report = k.backfill("wide", "tests.embedders:wide", workers=2, batch=6)
    assert (report.embedded, writes_inside(k)) == (40, 40)
    assert found(k.view(deployment="wide"), TEXTS, wide) == set(TEXTS)
    assert k.backfill("wide", wide, workers=2).unchanged == 40


def test_a_failure_is_told_by_document_and_the_others_go_on(k: Kedge) -> None:
    put(k, {"doc-bad": "skin and bones"}, None)
    for workers in (0, 1):
        report = k.backfill("wide", picky, batch=16, workers=workers)
        assert report.failed == (("kb/doc-bad", "ValueError: bones are hard to swallow"),)
        assert not report.ok
    assert found(k.view(deployment="wide"), TEXTS, wide) == set(TEXTS)
    assert k.backfill("wide", wide).embedded == 1


def test_an_embedder_that_fails_on_everything_ends_it(k: Kedge) -> None:
    calls: list[int] = []

    def broken(texts: list[str]) -> Rows:
        calls.append(len(texts))
        raise RuntimeError("no model here")

    with pytest.raises(InvalidVector, match=r"8 documents in a row, the first kb 'doc-000': RuntimeError: no model"):
        k.backfill("wide", broken)
    assert calls == [40] + [1] * 8 + [1], "and the last, in case that the first ones are to blame"
    assert writes_inside(k) == 0


def test_documents_that_fail_are_told_as_such_however_many_and_do_not_bar_the_way(k: Kedge) -> None:
    bad = {f"a-bad-{number:02}": "bones" for number in range(12)}
    put(k, bad, None)
    report = k.backfill("wide", picky)
    assert (report.embedded, [where for where, _ in report.failed]) == (40, [f"kb/{ident}" for ident in bad])
    put(k, {"doc-new": "came later"}, None)
    report = k.backfill("wide", picky, workers=1)
    assert (report.embedded, len(report.failed)) == (1, 12), "they come first, in a batch of one that can be embedded"
    report = k.backfill("wide", picky)
    assert (report.embedded, len(report.failed)) == (0, 12), "in a batch where nothing can be embedded"


def test_an_embedder_that_breaks_ends_it_though_it_worked_before(k: Kedge) -> None:
    texts: list[list[str]] = []

    def breaking(batch: list[str]) -> Rows:
        texts.append(batch)
        if len(texts) > 1:
            raise RuntimeError("the service has gone")
        return wide(batch)

    with pytest.raises(InvalidVector, match="8 documents in a row, the first kb 'doc-020': RuntimeError: the service"):
        k.backfill("wide", breaking, batch=20)
    assert texts[-1] == ["text number 0"], "it was asked for what it had embedded before"
    assert writes_inside(k) == 20


def test_a_process_that_dies_is_told(k: Kedge) -> None:
    with pytest.raises(InvalidValue, match=r"a process of the embedder died on a batch of .* from 'doc-000' on"):
        k.backfill("wide", "tests.embedders:die", workers=1)
    assert k.backfill("wide", wide).embedded == len(TEXTS)


@pytest.mark.parametrize(
    ("embed", "message"),
    [
        (narrow, r"returned 8 dimensions for kb 'doc-000', but 'shared/embedder' has 16"),
        (lambda texts: wide(texts)[1:], r"shape \(39, 16\) for 40 texts"),
        (lambda texts: wide(texts)[0], r"shape \(16,\) for 40 texts"),
        (lambda texts: ["x"] * len(texts), "no float array"),
    ],
)
def test_what_is_no_matrix_of_the_right_shape_is_refused(k: Kedge, embed: Any, message: str) -> None:
    with pytest.raises(InvalidVector, match=message):
        k.backfill("wide", embed)
    assert writes_inside(k) == 0


def test_a_vector_that_cannot_be_stored_is_told_by_document(k: Kedge) -> None:
    def embed(texts: list[str]) -> Rows:
        rows = wide(texts)
        rows[3], rows[4, 0] = 0, np.nan
        return rows

    assert k.backfill("wide", embed, batch=40).failed == (
        ("kb/doc-003", "its vector is zero: it has no cosine"),
        ("kb/doc-004", "its vector holds NaN or an infinity"),
    )
    assert writes_inside(k) == 38


def test_an_embedder_that_says_that_it_is_another_is_refused(k: Kedge) -> None:
    def embed(texts: list[str]) -> Rows:
        return wide(texts)

    embed.digest = "sha256:other"  # type: ignore[attr-defined]
    with pytest.raises(InvalidVector, match="is for the digest 'sha256:other'"):
        k.backfill("wide", embed)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"embed": "nowhere:embed"}, InvalidValue, "cannot be imported"),
        ({"embed": "tests.embedders"}, InvalidValue, "package.module:function"),
        ({"embed": "tests.embedders:none"}, InvalidValue, "has no function 'none'"),
        ({"embed": 3}, InvalidValue, "is not a function"),
        ({"embed": partial(wide), "workers": 1}, InvalidValue, "other processes cannot import"),
        ({"batch": 0}, InvalidValue, "invalid batch 0"),
        ({"workers": -1}, InvalidValue, "invalid workers -1"),
        ({"rate": 0}, InvalidValue, "rate=0"),
        ({"corpus": "web"}, InvalidValue, "corpus='web'"),
        ({"follow": 0}, InvalidValue, "follow=0"),
        ({"collection": "kbb"}, UnknownName, "did you mean 'kb'"),
        ({"deployment": "wyde"}, UnknownName, "did you mean 'wide'"),
        ({"deployment": None, "dual": narrow}, InvalidValue, "name the deployment"),
    ],
)
def test_a_call_that_cannot_work_says_why(
    k: Kedge, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"deployment": "wide", "embed": wide} | options
    with pytest.raises(error, match=message):
        k.backfill(**given)


def test_a_deployment_without_an_embedder_needs_a_collection(k: Kedge) -> None:
    k.deploy("prompt", {"support/prompt": "x"})
    with pytest.raises(InvalidValue, match="contains the embedder of none"):
        k.backfill("prompt", narrow)
    with pytest.raises(InvalidValue, match="the same embedding space"):
        k.backfill("prompt", narrow, collection="kb", dual=narrow)
    assert k.backfill("prompt", narrow, collection="kb").unchanged == 40


# ── what is embedded ──


def test_the_text_may_lie_elsewhere(k: Kedge) -> None:
    with k.turn(person="ann") as turn:
        turn.documents("kb").put("doc-map", {"text": "in a field"})
        turn.documents("kb").put("doc-odd", {"body": ["no", "text"]})

    report = k.backfill("wide", wide)
    assert report.failed == (("kb/doc-odd", "not a text but dict; pass source=, a function that returns its text"),)

    def source(ident: str, value: Any) -> Any:
        return (" ".join(value["body"]), {"lang": "en"}) if ident == "doc-odd" else None

    assert k.backfill("wide", wide, source=source).embedded == 1
    inside = k.view(deployment="wide").vectors("kb")
    assert [hit.id for hit in inside.search(wide(["no text"])[0], k=1, where={"lang": "en"})] == ["doc-odd"]


def test_a_collection_without_documents_is_embedded_from_its_payloads(k: Kedge) -> None:
    k.collection("notes", dim=NARROW)
    with k.turn(agent="pipeline") as turn:
        turn.vectors("notes").upsert(["a", "b"], narrow(["one", "two"]), [{"text": "one"}, {"text": "two"}])
    report = k.backfill("wide", wide, collection="notes")
    assert (report.collections, report.embedded) == (("notes",), 2)
    inside = k.view(deployment="wide").vectors("notes")
    assert [(hit.id, hit.payload) for hit in inside.search(wide(["two"])[0], k=1)] == [("b", {"text": "two"})]
    assert k.backfill("wide", wide, collection="notes").unchanged == 2


def test_vectors_of_other_ids_than_the_documents_are_not_guessed_at(k: Kedge) -> None:
    k.collection("parts", dim=NARROW)
    with k.turn(agent="pipeline") as turn:
        turn.documents("parts").put("doc", "one two")
        turn.vectors("parts").upsert(["doc#1", "doc#2"], narrow(["one", "two"]), ["one", "two"])
    with pytest.raises(InvalidValue, match="corpus='payloads'"):
        k.backfill("wide", wide, collection="parts")
    assert k.backfill("wide", wide, collection="parts", corpus="payloads").embedded == 2


# ── a rollback of the embedder ──


@pytest.fixture
def promoted(k: Kedge) -> Kedge:
    """Promote the wide embedder; then two documents come, and one is changed, all embedded by the pipeline."""
    k.backfill("wide", wide)
    k.promote("wide")
    put(k, LATER, wide)
    return k


LATER = {"doc-100": "came later", "doc-101": "came later still", "doc-000": "was changed"}


def test_a_plan_counts_what_no_search_would_find(promoted: Kedge) -> None:
    plan = promoted.plan("wide")
    assert (plan.unsearchable, plan.unsearchable_examples) == (2, ("kb/doc-100", "kb/doc-101"))
    assert [i.key for i in plan.replay_inputs] == list(LATER), "not the corpus, which the old space has"


def test_replay_lists_these_and_embeds_them_with_the_restored_embedder(promoted: Kedge) -> None:
    promoted.rollback("wide")
    assert [(i.store, i.space, i.key) for i in promoted.replay_pending()] == [("documents", "kb", i) for i in LATER]
    assert len(found(promoted.view(), TEXTS, narrow)) == 40, "as it was before, at once"

    def embed(turn: Turn, item: ReplayInput) -> None:
        assert turn.artifacts["shared/embedder"].value["name"] == "narrow"
        turn.vectors(item.space).upsert([item.key], narrow([item.value]), [{"of": item.key}])

    assert promoted.replay(embed, limit=1).pending == 2
    assert promoted.replay(embed).pending == 0
    assert found(promoted.view(), TEXTS | LATER, narrow) == set(TEXTS | LATER)
    promoted.reinstate("wide")
    assert found(promoted.view(), TEXTS | LATER, wide) == set(TEXTS | LATER)


@pytest.mark.parametrize("embedded_by", ["pipeline", "backfill"])
def test_a_backfill_of_what_is_missing_does_the_same(k: Kedge, embedded_by: str) -> None:
    k.backfill("wide", wide)
    k.promote("wide")
    put(k, LATER, wide if embedded_by == "pipeline" else None)
    assert k.backfill("wide", wide).embedded == (0 if embedded_by == "pipeline" else 3)
    k.rollback("wide")
    assert len(k.replay_pending()) == 3
    report = k.backfill(None, narrow)
    assert (report.deployment, report.embedded, report.unchanged) == (None, 3, 39)
    assert k.replay_pending() == []
    assert found(k.view(), TEXTS | LATER, narrow) == set(TEXTS | LATER)
    k.reinstate("wide")
    assert found(k.view(), TEXTS | LATER, wide) == set(TEXTS | LATER), "the old space stands below the new one"
    assert k.fsck(full=True).findings == ()


def test_a_document_that_an_agent_wrote_is_replayed_with_its_text(k: Kedge) -> None:
    with k.turn(agent="writer") as turn:
        turn.documents("kb").put("summary", "what an agent wrote", origin="derived")
    k.backfill("wide", wide)
    k.rollback("wide")
    values: list[Any] = []
    k.replay(lambda _, item: values.append(item.value))
    assert values == ["what an agent wrote"]


def test_with_dual_both_spaces_are_fed(promoted: Kedge) -> None:
    put(promoted, {"doc-200": "newer than all"}, None)
    texts = TEXTS | LATER | {"doc-200": "newer than all"}
    report = promoted.backfill("wide", wide, dual=narrow)
    assert (report.embedded, report.outside) == (1, 4)
    assert found(promoted.view(), texts, wide) == set(texts)
    assert promoted.plan("wide").unsearchable == 0
    assert promoted.plan("wide").replay_inputs == ()
    promoted.rollback("wide")
    assert promoted.replay_pending() == []
    assert found(promoted.view(), texts, narrow) == set(texts)
    promoted.reinstate("wide")
    assert found(promoted.view(), texts, wide) == set(texts)
    assert unembedded(promoted.view(), wide) == 0


@pytest.mark.parametrize("ends_by", ["rollback", "settle"])
def test_following_it_feeds_what_comes_until_the_deployment_is_decided(promoted: Kedge, ends_by: str) -> None:
    reports: list[kedge.BackfillReport] = []
    fed = threading.Event()

    def embed(texts: list[str]) -> Rows:
        if "came while following" in texts:
            fed.set()
        return narrow(texts)

    def follow() -> None:
        reports.append(promoted.backfill("wide", wide, dual=embed, follow=0.01))

    thread = threading.Thread(target=follow)
    thread.start()
    put(promoted, {"doc-300": "came while following"}, wide)
    assert fed.wait(30)
    while promoted.plan("wide").unsearchable:
        threading.Event().wait(0.01)
    getattr(promoted, ends_by)("wide")
    thread.join(30)
    assert [report.outside for report in reports] == [4]
    if ends_by == "rollback":
        assert found(promoted.view(), {"doc-300": "came while following"}, narrow) == {"doc-300"}


def test_who_follows_is_told_of_what_fails_as_it_does_and_once_for_each_version(k: Kedge) -> None:
    told: list[tuple[str, str]] = []

    def on_failure(where: str, why: str) -> None:
        told.append((where, why))
        if len(told) == 1:
            put(k, {"doc-bad": "more bones", "doc-good": "came while following"}, None)
        else:
            k.rollback("wide")

    put(k, {"doc-bad": "bones"}, None)
    report = k.backfill("wide", picky, follow=0.01, on_failure=on_failure)
    assert told == [("kb/doc-bad", "ValueError: bones are hard to swallow")] * 2
    assert report.failed == (told[0],)


def test_a_plan_knows_a_space_that_was_filled_in_part_only(k: Kedge) -> None:
    def half(ident: str, value: Any) -> Any:
        return value if ident < "doc-020" else None

    k.backfill("wide", wide, source=half)
    k.promote("wide")
    k.deploy("third", {"shared/embedder": {"name": "third", "dim": NARROW}}, canary=1.0)
    k.backfill("third", narrow)
    plan = k.plan("third")
    assert plan.unsearchable == 20, (
        "their vectors would be there, but in the narrow space, while readers search the wide"
    )
    assert plan.unsearchable_examples[0] == "kb/doc-020"
    assert [i.key for i in plan.replay_inputs] == [f"doc-{number:03}" for number in range(20, 40)]
