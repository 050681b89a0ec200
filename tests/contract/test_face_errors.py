"""Misuse of each public call: the class of its error, and a message with the value and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

import kedge
from kedge import Kedge, Turn

Do = Callable[[Kedge], object]


def in_turn(act: Callable[[Turn], object], **options: Any) -> Do:
    def do(k: Kedge) -> object:
        with k.turn(**({"session": "s", "agent": "support"} | options)) as turn:
            return act(turn)

    return do


def after(*steps: Do) -> Do:
    def do(k: Kedge) -> object:
        return [step(k) for step in steps][-1]

    return do


def deployed(**options: Any) -> Do:
    return lambda k: k.deploy("v2", {"support/prompt": "bad"}, **options)


def rolled_back(k: Kedge) -> object:
    deployed(canary=1.0)(k)
    return k.rollback("v2")


def search(vector: Any, k: Any = 5, where: Any = None) -> Do:
    return in_turn(lambda t: t.vectors("kb").search(vector, k, where))


def upsert(ids: Any, matrix: Any, payloads: Any = None, **options: Any) -> Do:
    return in_turn(lambda t: t.vectors("kb").upsert(ids, matrix, payloads, **options))


POSTGRES_ONE_IN = 10
ONE = [[1.0, 0.0, 0.0]]
NAN = float("nan")
NOTHING: Any = None
WORDS: Any = ["hi"]

# what is wrong: the call, the class, and what the message must hold
WRONG: dict[str, tuple[Do, type[kedge.KedgeError], list[str]]] = {
    # deployments
    "deploy a name again": (after(deployed(), deployed()), kedge.DuplicateName, ["'v2'", "never used twice"]),
    "deploy an empty name": (lambda k: k.deploy("", {}), kedge.InvalidValue, ["deployment name", "empty"]),
    "deploy a name that is kept": (
        lambda k: k.deploy("external:x", {}),
        kedge.InvalidValue,
        ["'external:x'", "choose another"],
    ),
    "deploy with a list": (lambda k: k.deploy("v2", ["a"]), kedge.InvalidValue, ["mapping", "list"]),  # type: ignore[arg-type]
    "deploy a set": (lambda k: k.deploy("v2", {"a": {1}}), kedge.InvalidValue, ["'a'", "{1}", "set"]),
    "deploy a URI alone": (
        lambda k: k.deploy("v2", {"a/model": kedge.Artifact(uri="models:/a")}),
        kedge.InvalidValue,
        ["'a/model'", "'models:/a'", "digest='sha256:"],
    ),
    "deploy on an unknown base": (deployed(base="bse"), kedge.UnknownName, ["'bse'"]),
    "deploy another digest of a version": (
        after(
            lambda k: k.deploy("v2", {"a/model": kedge.Artifact(value="x", version="7")}),
            lambda k: k.deploy("v3", {"a/model": kedge.Artifact(value="y", version="7")}),
        ),
        kedge.ArtifactChanged,
        ["'a/model'", "'7'", "another version label"],
    ),
    "a weight above 1": (deployed(canary=1.5), kedge.InvalidValue, ["1.5", "0 to 1"]),
    "a weight that is no number": (after(deployed(), lambda k: k.canary("v2", NAN)), kedge.InvalidValue, ["nan"]),
    "promote a slip": (
        after(deployed(), lambda k: k.promote("v22")),
        kedge.UnknownName,
        ["'v22'", "did you mean 'v2'"],
    ),
    "promote what is live": (
        after(deployed(), lambda k: k.promote("v2"), lambda k: k.promote("v2")),
        kedge.IllegalTransition,
        ["'v2'", "is live", "settle, rollback"],
    ),
    "settle what is staged": (
        after(deployed(), lambda k: k.settle("v2")),
        kedge.IllegalTransition,
        ["staged", "promote"],
    ),
    "reinstate what stands": (
        after(deployed(), lambda k: k.reinstate("v2")),
        kedge.IllegalTransition,
        ["'v2'", "staged"],
    ),
    "roll back twice": (after(rolled_back, lambda k: k.rollback("v2")), kedge.IllegalTransition, ["reinstate, purge"]),
    "roll back what is settled": (
        lambda k: k.rollback("base"),
        kedge.IllegalTransition,
        ["'base'", "settled", "irrevocable"],
    ),
    "plan what is settled": (lambda k: k.plan("base"), kedge.IllegalTransition, ["'base'", "settled"]),
    "plan what is hidden": (
        after(rolled_back, lambda k: k.plan("v2")),
        kedge.IllegalTransition,
        ["'v2'", "reinstate, purge"],
    ),
    "promote what is purged": (
        after(rolled_back, lambda k: k.purge("v2", confirm="v2"), lambda k: k.promote("v2")),
        kedge.IllegalTransition,
        ["'v2'", "purged", "legal now: nothing"],
    ),
    "purge unconfirmed": (
        after(rolled_back, lambda k: k.purge("v2")),
        kedge.ConfirmationNeeded,
        ["'v2'", "confirm='v2'"],
    ),
    "purge what is live": (
        after(deployed(), lambda k: k.purge("v2", confirm="v2")),
        kedge.IllegalTransition,
        ["staged", "rollback"],
    ),
    "show an unknown one": (lambda k: k.deployment("bse"), kedge.UnknownName, ["'bse'"]),
    # turns
    "a turn of two": (in_turn(lambda t: t, person="ann"), kedge.InvalidValue, ["'support'", "'ann'", "give one"]),
    "a session that is no name": (
        in_turn(lambda t: t, session="a\nb"),
        kedge.InvalidValue,
        ["session", r"\n", "remove it"],
    ),
    "a turn in an unknown deployment": (in_turn(lambda t: t, deployment="v9"), kedge.UnknownName, ["'v9'"]),
    "a turn in a hidden deployment": (
        after(rolled_back, in_turn(lambda t: t, deployment="v2")),
        kedge.IllegalTransition,
        ["'v2'", "rolled back", "reinstate"],
    ),
    "a session begun without": (
        after(in_turn(lambda t: t), deployed(), in_turn(lambda t: t, deployment="v2")),
        kedge.SessionBegun,
        ["'s'", "'v2'", "another session", "refresh"],
    ),
    "headers that are none": (in_turn(lambda t: t, parent="baggage"), kedge.InvalidValue, ["'baggage'", "mapping"]),
    "headers of bytes": (in_turn(lambda t: t, parent={b"a": b"b"}), kedge.InvalidValue, ["b'a'", "decode"]),
    "a callee with a deployment": (
        lambda k: in_turn(lambda t: t, session=None, parent=in_turn(lambda t: t.headers())(k), deployment="v2")(k),
        kedge.InvalidValue,
        ["'v2'", "leave deployment= out"],
    ),
    "a header for ever": (
        in_turn(lambda t: t.headers(ttl=float("inf"))),
        kedge.InvalidValue,
        ["ttl", "inf", "seconds"],
    ),
    "a header for nobody": (in_turn(lambda t: t.headers(audience="")), kedge.InvalidValue, ["audience", "empty"]),
    "a closed turn": (lambda k: in_turn(lambda t: t)(k).context.get("a"), kedge.TurnClosed, ["closed", "k.turn()"]),  # type: ignore[attr-defined]
    "an unknown origin": (
        in_turn(lambda t: t.context.put("a", 1, origin="user")),  # type: ignore[arg-type]
        kedge.InvalidValue,
        ["'user'", "'source' or 'derived'"],
    ),
    "an empty idempotency key": (
        in_turn(lambda t: t.context.put("a", 1, idempotency="")),
        kedge.InvalidValue,
        ["idempotency", "empty"],
    ),
    "one key, two payloads": (
        in_turn(lambda t: [t.context.put("a", n, idempotency="call") for n in (1, 2)]),
        kedge.IdempotencyMismatch,
        ["'call'", "fresh key"],
    ),
    "a sample that is none": (in_turn(lambda t: t.observe("m", [1])), kedge.InvalidValue, ["[1]", "'m'"]),
    "a sample that is no number": (in_turn(lambda t: t.observe("m", NAN)), kedge.InvalidValue, ["nan", "'m'"]),
    "a level that is none": (
        lambda k: k.set_level("support", "half"),  # type: ignore[arg-type]
        kedge.InvalidValue,
        ["'half'", "must be one of full, supervised, frozen, cautious, fallback, off"],
    ),
    "a derived write while frozen": (
        after(lambda k: k.set_level("support", "frozen"), in_turn(lambda t: t.context.put("a", 1))),
        kedge.Frozen,
        ["'support'", "frozen", "wait for a looser level"],
    ),
    # stores
    "an artifact that is not there": (
        in_turn(lambda t: t.artifacts["support/promt"]),
        kedge.UnknownName,
        ["'support/promt'", "did you mean 'support/prompt'"],
    ),
    "context of a number": (in_turn(lambda t: t.context.get(5)), kedge.InvalidValue, ["5", "string"]),  # type: ignore[arg-type]
    "a context value that is no JSON": (
        in_turn(lambda t: t.context.put("a", {1, 2})),
        kedge.InvalidValue,
        ["'a'", "set", "lists"],
    ),
    "a NaN": (in_turn(lambda t: t.context.put("a", {"b": NAN})), kedge.InvalidValue, ["'a'", "nan"]),
    "10 MB": (
        in_turn(lambda t: t.memory.append("user", "x" * 10_000_000)),
        kedge.InvalidValue,
        ["'user'", "10,000,0", "object store"],
    ),
    "an expectation that failed": (
        in_turn(lambda t: [t.context.put("a", 1), t.context.put("a", 2, expect=0)]),
        kedge.ExpectationFailed,
        ["'a'", "expected at seq 0", "its head is seq", "decide again"],
    ),
    "an expectation of what is absent": (
        in_turn(lambda t: t.context.delete("a", expect=3)),
        kedge.ExpectationFailed,
        ["'a'", "seq 3", "absent"],
    ),
    "an expectation that is no seq": (
        in_turn(lambda t: t.context.put("a", 2, expect=-1)),
        kedge.InvalidValue,
        ["expect -1", "entry()"],
    ),
    "a budget of nothing": (
        in_turn(lambda t: t.context.put("a", 1, fresh_for=0)),
        kedge.InvalidValue,
        ["fresh_for=0", "positive"],
    ),
    "a message of bytes": (in_turn(lambda t: t.memory.append("user", b"x")), kedge.InvalidValue, ["JSON", "document"]),
    "a role of nothing": (in_turn(lambda t: t.memory.append("", "x")), kedge.InvalidValue, ["role", "empty"]),
    "a history of minus one": (
        in_turn(lambda t: t.memory.history(limit=-1)),
        kedge.InvalidValue,
        ["limit -1", "0 or more"],
    ),
    "no messages": (in_turn(lambda t: t.memory.extend(NOTHING)), kedge.InvalidValue, ["None", "('user', 'hello')"]),
    "a message for messages": (
        in_turn(lambda t: t.memory.extend(WORDS)),
        kedge.InvalidValue,
        ["'hi'", "('user', 'hello')"],
    ),
    "a message that is not there": (in_turn(lambda t: t.memory.delete(99)), kedge.InvalidValue, ["99", "'s'"]),
    "a cache for minus a second": (
        in_turn(lambda t: t.cache.get_or_compute("a", int, ttl=-1)),
        kedge.InvalidValue,
        ["ttl=-1"],
    ),
    "a cached set": (in_turn(lambda t: t.cache.get_or_compute("a", lambda: {1})), kedge.InvalidValue, ["'a'", "{1}"]),
    # vectors
    "an unknown collection": (
        in_turn(lambda t: t.vectors("kbb")),
        kedge.UnknownName,
        ["'kbb'", "did you mean 'kb'", "k.collection('kbb'"],
    ),
    "a collection declared anew": (lambda k: k.collection("kb", dim=4), kedge.Conflict, ["'kb'", "another name"]),
    "a collection without dimensions": (lambda k: k.collection("x", dim=0), kedge.InvalidValue, ["dim 0", "1 to"]),
    "an unknown metric": (
        lambda k: k.collection("x", dim=2, metric="cos"),  # type: ignore[arg-type]
        kedge.InvalidValue,
        ["'cos'", "cosine, dot, l2"],
    ),
    "another dimension": (upsert(["bad-1"], [[1.0, 0.0]]), kedge.InvalidVector, ["'bad-1'", "2 dimensions", "3"]),
    "a NaN in a vector": (upsert(["ok", "bad-1"], [*ONE, [0.0, NAN, 1.0]]), kedge.InvalidVector, ["'bad-1'", "NaN"]),
    "a zero vector": (upsert(["ok", "bad-1"], [*ONE, [0.0, 0.0, 0.0]]), kedge.InvalidVector, ["'bad-1'", "zero"]),
    "one id twice": (
        upsert(["a", "bad-1", "bad-1"], [*ONE] * 3),
        kedge.InvalidVector,
        ["'bad-1'", "twice", "keep one"],
    ),
    "ids without vectors": (
        upsert(["a", "b"], ONE),
        kedge.InvalidVector,
        ["2 ids", "1 vectors", "one vector for"],
    ),
    "ids without payloads": (upsert(["a"], ONE, [1, 2]), kedge.InvalidVector, ["1 ids", "2 payloads"]),
    "no ids": (upsert(NOTHING, ONE), kedge.InvalidValue, ["ids", "ids None"]),
    "a payload for payloads": (upsert(["a"], ONE, 5), kedge.InvalidValue, ["payloads", "payloads 5"]),
    "an id for ids": (upsert("abc", ONE), kedge.InvalidValue, ["'abc'", "['abc']"]),
    "an id with a control character": (upsert(["a\x07"], ONE), kedge.InvalidValue, [r"'a\x07'", "remove it"]),
    "ragged vectors": (upsert(["a", "b"], [[1.0], [1.0, 2.0]]), kedge.InvalidVector, ["shape (n, 3)"]),
    "a foreign embedder": (
        upsert(["bad-1"], ONE, embedder="sha256:x"),
        kedge.InvalidVector,
        ["'bad-1'", "'sha256:x'", "'shared/embedder'"],
    ),
    "a query of another dimension": (search([1.0]), kedge.InvalidVector, ["the query", "1 dim", "3"]),
    "no hits asked for": (search([1.0, 0.0, 0.0], 0), kedge.InvalidValue, ["k 0", "1 or more"]),
    "an unknown operator": (search([1.0, 0.0, 0.0], 1, {"n": {"like": 1}}), kedge.InvalidValue, ["'like'", "gte"]),
    # the past
    "an unknown snapshot": (
        after(lambda k: k.snapshot("friday"), lambda k: k.at("fridy")),
        kedge.UnknownName,
        ["'fridy'", "did you mean 'friday'"],
    ),
    "a snapshot again": (
        after(lambda k: k.snapshot("friday"), lambda k: k.snapshot("friday")),
        kedge.DuplicateName,
        ["'friday'", "another name"],
    ),
    "a snapshot's name that is kept": (lambda k: k.snapshot("before:v9"), kedge.InvalidValue, ["'before:v9'"]),
    "a snapshot let go twice": (lambda k: k.release_snapshot("friday"), kedge.UnknownName, ["'friday'"]),
    "a seq to come": (lambda k: k.at(10_000), kedge.PastUnreadable, ["10000", "last seq is"]),
    "a seq below 0": (lambda k: k.at(-1), kedge.PastUnreadable, ["-1"]),
    "a time without a zone": (lambda k: k.at(datetime(2024, 1, 1)), kedge.InvalidValue, ["2024", "time zone", "UTC"]),  # noqa: DTZ001
    "a point that is none": (lambda k: k.at(1.5), kedge.InvalidValue, ["1.5", "a seq or a datetime"]),
    "a view of two": (lambda k: k.view(session="s", deployment="v2"), kedge.InvalidValue, ["'s'", "'v2'", "give one"]),
    "a view of an unknown deployment": (lambda k: k.view(deployment="v9"), kedge.UnknownName, ["'v9'"]),
    "a retention that is none": (lambda k: k.set_retention(-5), kedge.InvalidValue, ["-5", "seconds"]),
    "an epoch that is none": (lambda k: k.wait_for_epoch("5"), kedge.InvalidValue, ["epoch '5'", "report.epoch"]),  # type: ignore[arg-type]
    "replay of an unknown deployment": (lambda k: k.replay_pending("v9"), kedge.UnknownName, ["'v9'"]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_has_its_class_and_says_what_to_do(k: Kedge, wrong: str) -> None:
    do, expected, parts = WRONG[wrong]
    with pytest.raises(kedge.KedgeError) as caught:
        do(k)
    assert type(caught.value) is expected, str(caught.value)
    missing = [part for part in parts if part not in str(caught.value)]
    assert not missing, str(caught.value)


def test_a_failed_expectation_says_what_to_compare_with(k: Kedge) -> None:
    with k.turn(session="s", agent="support") as turn:
        seq = turn.context.put("a", 1)
        with pytest.raises(kedge.ExpectationFailed) as caught:
            turn.context.put("a", 2, expect=0)
        assert caught.value.seq == seq
        turn.context.put("a", 2, expect=caught.value.seq)
        turn.context.delete("a")
        with pytest.raises(kedge.ExpectationFailed) as caught:
            turn.context.put("a", 3, expect=seq)
        assert caught.value.seq == 0


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://host/db", "unknown scheme 'mysql'"),
        ("sqlite://state/kedge.db", "sqlite:///relative.db or sqlite:////absolute.db"),
        ("sqlite:///", "no file name"),
        ("", "must not be empty"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str, told: str) -> None:
    with pytest.raises(kedge.InvalidValue, match=told):
        kedge.open(url)


def test_a_durability_that_is_none_is_refused(tmp_path: Any) -> None:
    with pytest.raises(kedge.InvalidValue, match="'some' is unknown; use 'full' or 'normal'"):
        kedge.open(tmp_path, durability="some")  # type: ignore[arg-type]


def test_nothing_is_half_done_when_a_canary_may_not_start(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": "x"}, canary=0.5)
    with pytest.raises(kedge.IllegalTransition, match="rests on 'v2'"):
        k.deploy("v3", {"support/prompt": "y"}, base="v2", canary=0.5)
    assert [d.name for d in k.deployments()] == ["base", "v2"]


def test_a_closed_kedge_says_so(k: Kedge) -> None:
    turn, view = k.turn(session="s", agent="clerk"), k.view()
    k.close()
    for use in (lambda: turn.context.get("a"), lambda: view.context.get("a"), k.deployments, lambda: k.epoch):
        with pytest.raises(kedge.TurnClosed, match="closed; open the database again"):
            use()
