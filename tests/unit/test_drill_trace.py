"""The drill's own record of causes, which must be right because it is an oracle."""

from collections.abc import Iterator
from itertools import count

import pytest

from kedge.drill.trace import Op, Place, Trace, entangled

RELEASE = ("answering/prompt", "shared/embedder")


class Script:
    """Notes operations in turns that are numbered as a desk would."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._indexes: dict[str, Iterator[int]] = {}

    def begin(self, label: str, agent: str = "librarian", *, caller: str | None = None, inside: bool = False) -> None:
        self.trace.begin(label, agent=agent, caller=caller, sees_release=inside)
        self._indexes[label] = count(1)

    def write(self, label: str, name: str, value: object, *, source: bool = False) -> None:
        self._note(label, "write", name, value, source=source)

    def delete(self, label: str, name: str) -> None:
        self.trace.note(label, Op(next(self._indexes[label]), "delete", "context", "", name))

    def read(self, label: str, name: str, value: object) -> None:
        self._note(label, "read", name, value)

    def range(self, label: str, prefix: str, **values: object) -> None:
        self._note(label, "range", prefix, values)

    def absorb(self, label: str, callee: str) -> None:
        self.trace.note(label, Op(next(self._indexes[label]), "absorb", name=callee))

    def touch(self, label: str, key: str) -> None:
        self.trace.note(label, Op(next(self._indexes[label]), "touch", name=key))

    def _note(self, label: str, kind: str, name: str, value: object, *, source: bool = False) -> None:
        index = next(self._indexes[label])
        self.trace.note(label, Op(index, kind, "context", "", name, value, source))  # type: ignore[arg-type]


@pytest.fixture
def script() -> Script:
    return Script(Trace(RELEASE))


def test_an_agent_of_the_release_is_influenced_from_the_start_inside_it_and_never_outside(script: Script) -> None:
    script.begin("in", "answering", inside=True)
    script.begin("out", "answering")
    script.begin("other", "reviewer", inside=True)
    assert script.trace.influenced() == {"in": 0}


def test_influence_comes_by_an_artifact_a_value_a_caller_and_a_callee(script: Script) -> None:
    script.begin("w", inside=True)
    script.write("w", "clean", 1)
    script.touch("w", "shared/embedder")
    script.write("w", "dirty", 2)
    script.begin("r", inside=True)
    script.read("r", "clean", 1)
    script.read("r", "dirty", 2)
    script.begin("called", caller="r")
    script.begin("c", inside=True)
    script.absorb("c", "called")
    assert script.trace.influenced() == {"w": 2, "r": 2, "called": 0, "c": 1}
    assert [version.tainted for _, place, version in script.trace.written() if place.name == "clean"] == [False]
    assert [version.tainted for _, place, version in script.trace.written() if place.name == "dirty"] == [True]


def test_a_contaminated_delete_is_read_by_a_range_and_leaves_the_value_outside(script: Script) -> None:
    script.begin("before")
    script.write("before", "facts/1", "x")
    script.begin("deleter", "answering", inside=True)
    script.delete("deleter", "facts/1")
    script.begin("in", inside=True)
    script.range("in", "facts/")
    script.begin("out")
    script.range("out", "facts/", **{"facts/1": "x"})
    assert script.trace.influenced() == {"deleter": 0, "in": 1}
    assert not script.trace.surprises
    assert script.trace.must_be_visible() == {Place("context", "", "facts/1"): "x"}


def test_a_source_write_in_an_influenced_turn_is_not_contaminated(script: Script) -> None:
    script.begin("in", "answering", inside=True)
    script.write("in", "said", "hello", source=True)
    script.begin("out")
    script.read("out", "said", "hello")
    assert not script.trace.surprises


@pytest.mark.parametrize("got", ["dirty", None, "older"])
def test_a_read_that_returns_anything_else_than_it_must_is_a_surprise(script: Script, got: str | None) -> None:
    script.begin("a")
    script.write("a", "k", "older")
    script.write("a", "k", "clean")
    script.begin("b", "answering", inside=True)
    script.write("b", "k", "dirty")
    script.begin("out")
    script.read("out", "k", got)
    (surprise,) = script.trace.surprises
    assert (surprise.expected, surprise.got) == ("clean", got)


def test_after_the_rollback_nobody_sees_the_release(script: Script) -> None:
    script.begin("in", "answering", inside=True)
    script.write("in", "k", "dirty")
    script.trace.roll_back()
    script.begin("later", inside=True)
    script.read("later", "k", None)
    assert not script.trace.surprises
    assert "later" not in script.trace.influenced()


def test_a_fork_knows_the_writes_and_goes_its_own_way(script: Script) -> None:
    script.begin("a")
    script.write("a", "k", 1)
    twin = Script(script.trace.fork())
    twin.begin("a")
    twin.read("a", "k", 1)
    twin.write("a", "k", 2)
    script.begin("b")
    script.read("b", "k", 1)
    assert not twin.trace.surprises
    assert not script.trace.surprises


def test_entangled_turns_read_replayed_work_or_read_those_that_did() -> None:
    script = Script(Trace())
    for label in ("replayed-1", "reader", "reader-of-reader", "bystander"):
        script.begin(label)
    script.write("replayed-1", "fact", 1)
    script.read("reader", "fact", 1)
    script.write("reader", "digest", 2)
    script.read("reader-of-reader", "digest", 2)
    script.begin("called", caller="reader-of-reader")
    script.begin("replayed-2")
    script.read("replayed-2", "fact", 1)
    script.begin("replayed-3")
    script.read("replayed-3", "digest", 2)
    assert entangled(script.trace, lambda label: label.startswith("replayed")) == {
        "reader", "reader-of-reader", "called", "replayed-3",
    }  # fmt: skip
