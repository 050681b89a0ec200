"""The repr of what users hold is one short line, `str` of a report its verdict, and HTML is escaped."""

from __future__ import annotations

import html
import inspect
from typing import Any

import msgspec
import pytest

import kedge
from kedge import Kedge
from kedge.support.display import LINE_CHARACTERS, Report, Value, brief

EVIL = "<script>alert('x')</script>\n" + "long " * 100
REPORTS = {kind for name in kedge.__all__ if inspect.isclass(kind := getattr(kedge, name)) and issubclass(kind, Report)}


def is_short(thing: object) -> bool:
    text = repr(thing)
    assert len(text) <= LINE_CHARACTERS, text
    assert "\n" not in text
    assert " object at 0x" not in text
    return True


def test_every_public_value_is_shown_in_one_line() -> None:
    """Whatever its fields hold: built from long and hostile ones."""
    values = [getattr(kedge, name) for name in kedge.__all__ if hasattr(getattr(kedge, name), "__struct_fields__")]
    assert len(values) > 30
    for kind in values:
        assert issubclass(kind, Value), kind
        made = kind(**dict.fromkeys(kind.__struct_fields__, [EVIL] * 50))
        assert is_short(made)
        assert repr(made).startswith(f"{kind.__name__}(")


def test_what_an_open_database_returns_is_shown_in_one_line(k: Kedge) -> None:
    k.deploy("v2", {"support/prompt": EVIL}, canary=1.0, note=EVIL)
    with k.turn(session="s" * 400, agent="support") as turn:
        vectors = turn.vectors("kb")
        vectors.upsert([f"a{n}" * 50 for n in range(9)], [[1.0, 0.0, 0.0]] * 9, [{"text": EVIL}] * 9)
        turn.memory.append("user", EVIL)
        turn.context.put("fact", [EVIL] * 30)
        turn.documents("kb").put("d", EVIL)
        batches = vectors.batches()
        things: list[object] = [
            k, turn, k.view(), k.view(session="s"), k.at(3), turn.memory, turn.context, turn.documents("kb"), vectors,
            vectors.search([1, 0, 0]), vectors.search([1, 0, 0])[0], vectors.search([1, 0, 0], where={"no": 1}),
            *vectors.get(vectors.ids()).values(), batches, *batches, turn.memory.history()[0],
            turn.context.entry("fact"), turn.artifacts["support/prompt"], k.diff(k.at(3), k.view()), k.plan("v2"),
            k.status(), k.verify(), k.fsck(), k.collections()[0], *k.deployments(), *k.snapshots(), *k.log(),
        ]  # fmt: skip
    with k.join("m" * 500, serves=["support"]) as member:
        things += [member, *k.members()]
    report = k.rollback("v2", reason=EVIL)
    things += [report, report.indicators, report.convergence, *k.replay_pending(), k.replay(lambda *_: None)]
    things.append(k.purge("v2", confirm="v2"))
    assert all(map(is_short, things))
    reports = [thing for thing in things if type(thing) in REPORTS]
    assert len({type(found) for found in reports}) >= 7
    for found in reports:
        assert "\n" not in str(found)
        assert str(found) != repr(found)
        assert html.escape(str(found)) in found._repr_html_()  # type: ignore[attr-defined]
    assert str(report) == report.verdict
    assert str(report).startswith("v2: rolled back")


@pytest.mark.parametrize("kind", sorted(REPORTS, key=str))
def test_a_report_states_its_verdict_and_escapes_its_html(kind: Any) -> None:
    assert "__str__" in vars(kind)
    fields = {
        field.name: EVIL if field.type is str else ((EVIL,) if "tuple" in str(field.type) else None)
        for field in msgspec.structs.fields(kind)
    }
    made = kind(**fields)
    shown = Report._repr_html_

    class Named(kind):  # type: ignore[misc]
        def __str__(self) -> str:
            return EVIL

    table = shown(Named(**fields))
    assert "<script>" not in table
    assert "&lt;script&gt;" in table
    assert made is not None


def test_a_value_is_cut_to_its_length() -> None:
    assert brief("x" * 100, 20) == brief("x" * 200, 20)
    assert len(brief({"a": ["x" * 100] * 10})) <= 60
    assert brief(kedge.Status.LIVE) == "live"
