"""A cached result is served only where every artifact that it rests on is the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kedge import Kedge, Turn

POSTGRES_ONE_IN = 3
Read = Callable[[Turn], object]
ROW = [1.0, 0.0, 0.0]

READS: dict[str, Read] = {
    "one": lambda t: t.artifacts["shared/policy"].value,
    "get": lambda t: getattr(t.artifacts.get("shared/policy"), "value", None),
    "in": lambda t: "shared/policy" in t.artifacts and t.artifacts["shared/policy"].value,
    "items": lambda t: {key: artifact.value for key, artifact in t.artifacts.items("shared/p").items()},
    "iteration": lambda t: [t.artifacts[key].value for key in t.artifacts if key.startswith("shared/p")],
    "entry": lambda t: getattr(t.artifacts.entry("shared/policy"), "seq", None),
    "a view": lambda t: t.view().artifacts["shared/policy"].value,
}


@pytest.fixture
def policies(k: Kedge) -> Kedge:
    """Put a policy live, and a canary that overrides it."""
    k.deploy("v1", {"shared/policy": "old"})
    k.promote("v1")
    k.deploy("v2", {"shared/policy": "new"})
    return k


def _ask(k: Kedge, read: Read, deployment: str | None = None, *, before: Read | None = None) -> tuple[object, bool]:
    """Return what the cache gives a turn, and whether it was computed now."""
    computed: list[object] = []

    def compute(turn: Turn) -> object:
        computed.append(1)
        return read(turn)

    with k.turn(agent="support", deployment=deployment) as turn:
        if before is not None:
            before(turn)
        return turn.cache.get_or_compute("question", lambda: compute(turn)), bool(computed)


@pytest.mark.parametrize("read", READS)
def test_a_canary_is_not_served_the_old_answer_nor_others_its(policies: Kedge, read: str) -> None:
    ask = READS[read]
    old, _ = _ask(policies, ask)
    assert _ask(policies, ask) == (old, False)
    new, computed = _ask(policies, ask, "v2")
    assert computed
    assert new != old
    assert _ask(policies, ask, "v2") == (new, False)
    assert _ask(policies, ask) == (old, False), "both are kept"
    policies.promote("v2")
    assert _ask(policies, ask) == (new, False)
    policies.rollback("v2")
    assert _ask(policies, ask) == (old, False)


def test_what_was_read_before_the_computation_counts(policies: Kedge) -> None:
    seen: list[object] = []
    first = READS["one"]

    def read_before(turn: Turn) -> None:
        seen[:] = [first(turn)]

    for deployment, value in ((None, "old"), ("v2", "new"), (None, "old"), ("v2", "new")):
        assert _ask(policies, lambda _: seen[0], deployment, before=read_before)[0] == value


def test_an_absent_artifact_counts(k: Kedge) -> None:
    read = READS["get"]
    assert _ask(k, read) == (None, True)
    assert _ask(k, read) == (None, False)
    k.deploy("v1", {"shared/policy": "new"})
    k.promote("v1")
    assert _ask(k, read) == ("new", True)


def test_the_embedder_of_a_search_counts(k: Kedge) -> None:
    def search(turn: Turn) -> object:
        return [hit.id for hit in turn.vectors("kb").search(ROW)]

    with k.turn(agent="support") as turn:
        turn.vectors("kb").upsert(["a"], [ROW])
    assert _ask(k, search) == (["a"], True)
    assert _ask(k, search) == (["a"], False)
    k.deploy("v1", {"shared/embedder": {"name": "e2", "dim": 3}})
    k.promote("v1")
    assert _ask(k, search) == ([], True)


def test_what_a_cached_result_rests_on_passes_on(policies: Kedge) -> None:
    first = READS["one"]

    def both(deployment: str | None) -> object:
        with policies.turn(agent="support", deployment=deployment) as turn:
            inner = turn.cache.get_or_compute("inner", lambda: first(turn))
            return turn.cache.get_or_compute("outer", lambda: f"{inner}!")

    for deployment, value in ((None, "old!"), (None, "old!"), ("v2", "new!"), ("v2", "new!"), (None, "old!")):
        assert both(deployment) == value


def test_one_turn_is_served_twice(policies: Kedge) -> None:
    first = READS["one"]
    with policies.turn(agent="support") as turn:
        assert turn.cache.get_or_compute("q", lambda: first(turn)) == "old"
        assert turn.cache.get_or_compute("q", lambda: "computed again") == "old"
        turn.artifacts.items()
        assert turn.cache.get_or_compute("q", lambda: "with more read") == "with more read"
        assert turn.cache.get_or_compute("q", lambda: "computed again") == "with more read"
