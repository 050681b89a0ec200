"""Names of hosts (empty, with control characters, 2 KB), escaped, in every place that takes a name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import kedge
from kedge import escape_name, unescape_name
from kedge.cli.main import main

NASTY = ("", "\x00", "\x10", "a\nb", "a\x1b[31mb", "\x9b", "\udcff", "\x7f", "a\tb", "\x100010", "thread-1")
LONG = ("x" * 2_047, "x" * 2_048, "é" * 1_024, "\n" + "y" * 2_040)
UNIT = [1.0, 0.0, 0.0]
POSTGRES_ONE_IN = 4


def test_every_text_of_a_host_can_be_a_key_a_space_and_a_session(k: kedge.Kedge) -> None:
    texts = [*NASTY, *LONG]
    names = [escape_name(text) for text in texts]
    for number, name in enumerate(names):
        k.collection(name, dim=3)
        with k.turn(session=name, agent=name) as turn:
            turn.memory.append("user", number)
            turn.context.put(name, number)
            turn.documents(name).put(name, number, idempotency=name)
            turn.vectors(name).upsert([name], [UNIT], [number])
            turn.observe(name, number)
            assert turn.cache.get_or_compute(name, lambda found=number: found) == number  # type: ignore[misc]
    view = k.view()
    assert view.context.items() == {name: number for number, name in enumerate(names)}
    assert sorted(map(unescape_name, view.context.items())) == sorted(texts)
    for number, name in enumerate(names):
        assert [m.content for m in k.view(session=name).memory.history()] == [number]
        assert view.documents(name).get(name) == number
        assert [hit.id for hit in view.vectors(name).search(UNIT, k=3)] == [name]
        assert name in view.context.items(name)
    assert {info.session for info in k.sessions()} == set(names)
    assert k.fsck(full=True).findings == ()


def test_a_rollback_hides_what_a_long_name_holds(k: kedge.Kedge) -> None:
    name = escape_name("\n" + "é" * 1_000)
    k.deploy("bad", {"writer/prompt": "x"}, canary=1.0)
    with k.turn(session=name, agent="writer") as turn:
        turn.memory.append("user", "kept")
        turn.memory.append("assistant", "hidden")
        turn.context.put(name, 1)
    assert name in k.plan("bad").sessions
    k.rollback("bad")
    assert [m.content for m in k.view(session=name).memory.history()] == ["kept"]
    assert k.view().context.get(name) is None
    k.reinstate("bad")
    assert k.view(session=name).context.get(name) == 1


def test_a_terminal_gets_no_control_character_of_a_name(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = escape_name("\x1b[31mred")
    with kedge.open(place) as k, k.turn(session=name, agent="support") as turn:
        turn.context.put(name, 1)
        turn.memory.append("user", "hello")
    for command in (("show", "context"), ("show", "memory", name), ("assignment", name), ("sessions",)):
        assert main([*command, "--db", place]) == 0, command
        shown = capsys.readouterr()
        assert "\x10" not in shown.out + shown.err, command
    assert main(["show", "context", name, "--db", place]) == 0


CALLS: tuple[Callable[[kedge.Kedge, str], object], ...] = (
    lambda k, name: k.turn(session=name, agent="support"),
    lambda k, name: k.deploy("v1", {name: "x"}),
    lambda k, name: k.deploy(name, {"support/prompt": "x"}),
    lambda k, name: k.turn(agent="support").context.put(name, 1),
    lambda k, name: k.turn(agent="support").documents(name),
    lambda k, name: k.collection(name, dim=3),
)


@pytest.mark.parametrize("name", ["a\x00", "\x10", "\x10x", "\x100041", "x" * 2_049])
def test_what_is_no_name_is_refused_and_says_how_to_make_one(k: kedge.Kedge, name: str) -> None:
    for call in CALLS:
        with pytest.raises(kedge.InvalidValue, match=r"kedge.escape_name|use a shorter one"):
            call(k, name)
