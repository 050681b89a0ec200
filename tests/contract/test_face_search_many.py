"""Search of several collections: one ranking, one epoch, the lineage of all hits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import kedge
from kedge import Kedge
from kedge.turns.scope import scope_of

POSTGRES_ONE_IN = 5

A, B, C = [1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]


@pytest.fixture
def both(k: Kedge) -> Kedge:
    """Two collections: a1 and a2 in one, b1 in the other by a release that can be rolled back."""
    k.collection("wiki", dim=3)
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(["a1", "a2"], [A, C], [{"n": 1}, {"n": 2}])
    k.deploy("v2", {"wiki-bot/prompt": "x"}, canary=1.0)
    with k.turn(agent="wiki-bot", deployment="v2") as turn:
        turn.vectors("wiki").upsert(["b1"], [B], [{"n": 1}])
    return k


def test_hits_are_merged_by_score_and_say_where_they_lie(both: Kedge) -> None:
    hits = both.view(deployment="v2").search(["wiki", "kb"], A, k=2)
    assert [(hit.collection, hit.id) for hit in hits] == [("kb", "a1"), ("wiki", "b1")]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 0.8])
    assert hits.exact
    assert [hit.id for hit in both.view(deployment="v2").search(["wiki", "kb"], A, k=9, where={"n": 2})] == ["a2"]
    assert [hit.id for hit in both.view().search(["wiki", "kb"], A, k=9)] == ["a1", "a2"]
    assert both.view().vectors("kb").search(A)[0].collection == "kb"


def test_only_hits_that_were_given_influence(both: Kedge) -> None:
    with both.turn(deployment="v2", agent="clerk") as turn:
        assert [hit.id for hit in turn.search(["kb", "wiki"], A, k=1)] == ["a1"]
        assert turn.lineage == set()
        assert [hit.id for hit in turn.search(["kb", "wiki"], A, k=2)] == ["a1", "b1"]
        assert turn.lineage == {"v2"}


def test_a_superseder_of_a_row_that_would_have_ranked_influences(both: Kedge) -> None:
    with both.turn(agent="wiki-bot", deployment="v2") as turn:
        turn.vectors("kb").upsert(["a1"], [[-1.0, 0.0, 0.0]])
    with both.turn(deployment="v2", agent="clerk") as turn:
        assert [hit.id for hit in turn.search(["kb", "wiki"], C, k=1)] == ["a2"]
        assert turn.lineage == set()
        turn.search(["wiki", "kb"], [1.0, 0.0, 0.1], k=1)
        assert turn.lineage == {"v2"}


def test_unembedded_counts_all_and_reading_it_is_a_read_of_all(both: Kedge) -> None:
    both.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 3}})
    with both.turn(deployment="e2", agent="clerk") as turn:
        hits = turn.search(["kb", "wiki"], A)
        assert (list(hits), hits.count_unembedded()) == ([], 2)
        assert turn.lineage == {"e2"}
    with both.turn(agent="wiki-bot", deployment="v2") as turn:
        assert turn.search(["kb", "wiki"], A).count_unembedded() == 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("kb", "must be a list of names"),
        ([], "must be a list of names"),
        (["kb", "kb"], "occurs twice"),
        (["kb", "far"], "'kb' has metric cosine, 'far' has l2"),
        (["kb", "other"], r"'kb' is embedded by 'sha256:\w+' \('shared/embedder'\), 'other' by none"),
    ],
)
def test_what_cannot_be_merged_is_refused(k: Kedge, names: Any, message: str) -> None:
    k.collection("far", dim=3, metric="l2")
    k.collection("other", dim=3, embedder="other/embedder")
    with pytest.raises(kedge.InvalidValue, match=message):
        k.view().search(names, A)


def test_a_wrong_dimension_is_refused_and_what_said_so_is_read(k: Kedge) -> None:
    k.collection("wiki", dim=3)
    k.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 4}})
    with k.turn(deployment="e2", agent="clerk") as turn:
        with pytest.raises(kedge.InvalidVector, match="for 'kb' has 4"):
            turn.search(["kb", "wiki"], A)
        assert turn.lineage == {"e2"}
    with pytest.raises(kedge.UnknownName, match="'wikki' \\(did you mean 'wiki'\\?\\)"):
        k.view().search(["kb", "wikki"], A)


def test_a_flip_between_two_collections_does_not_mix(both: Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first collection is searched, then v2 falls: the second is not the only one to show it."""
    view, index = both.view(deployment="v2"), scope_of(both.view()).backend.vectors
    original = type(index).search
    searches = itertools.count(1)

    def search(self: Any, *arguments: Any, **options: Any) -> Any:
        if next(searches) == 2:
            both.rollback("v2", verify=False)
        return original(self, *arguments, **options)

    monkeypatch.setattr(type(index), "search", search)
    assert [hit.id for hit in view.search(["wiki", "kb"], B)] == ["a1", "a2"]


@pytest.mark.parametrize("who", ["view", "turn"])
@pytest.mark.parametrize("several", [False, True])
def test_a_flip_between_embedder_and_rows_has_the_search_begin_anew(
    k: Kedge, monkeypatch: pytest.MonkeyPatch, who: str, *, several: bool
) -> None:
    """Else the space of the new embedder, of which nothing is seen any more, would be searched."""
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(["old"], [A])
    k.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 3}}, canary=1.0)
    reader, journal = (
        (k.turn(agent="helper", deployment="e2") if who == "turn" else k.view(deployment="e2")),
        scope_of(k.view()).backend.journal,
    )
    original = type(journal).head
    looks = itertools.count(1)

    def head(self: Any, *arguments: Any) -> Any:
        found = original(self, *arguments)
        if next(looks) == 1:
            k.rollback("e2", verify=False)
        return found

    monkeypatch.setattr(type(journal), "head", head)
    hits = reader.search(["kb"], A) if several else reader.vectors("kb").search(A)
    assert [hit.id for hit in hits] == ["old"]
    if isinstance(reader, kedge.Turn):
        assert reader.lineage == set(), "what it was not told did not influence it"


def test_the_property_that_counts_is_deprecated_and_still_counts(both: Kedge) -> None:
    both.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 3}})
    with both.turn(agent="support", deployment="e2") as turn:
        hits = turn.search(["kb", "wiki"], A)
        with pytest.warns(DeprecationWarning, match=r"call hits.count_unembedded\(\)"):
            assert hits.unembedded == 2


@pytest.mark.both
def test_counting_what_is_not_embedded_adds_to_the_lineage_and_searching_does_not(both: Kedge) -> None:
    both.deploy("d", {"clerk/prompt": "x"}, independent=True)
    with both.turn(agent="clerk", deployment="d") as turn:
        turn.vectors("kb").upsert(["late"], [A])
    both.promote("d")
    both.deploy("e2", {"shared/embedder": {"name": "e2", "dim": 3}})
    with both.turn(deployment="e2", agent="reader") as turn:
        hits = turn.search(["kb", "wiki"], A)
        assert turn.lineage == {"e2"}
        assert hits.count_unembedded() == 3
        assert turn.lineage == {"d", "e2"}
