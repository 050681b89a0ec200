"""Commands retention and optimize: policies, holds, purges that come later, and what was reclaimed."""

import re
from pathlib import Path

import kedge
from tests.acceptance.cli import Run
from tests.acceptance.test_cli_json import of


def put_twice(world: Path) -> None:
    """Write a key twice."""
    with kedge.open(world, durability="normal") as k:
        for value in ("one", "two"):
            with k.turn(person="ann") as turn:
                turn.context.put("twice", value)


def test_a_policy_is_set_shown_and_lifted(run: Run) -> None:
    assert "No policy: the content of every write is kept." in run("retention").out
    assert "retention of the store 'context': 30 d" in run("retention", "30d", "--store", "context", "--yes").out
    run("retention", "forever", "--store", "context", "--space", "x", "--yes")
    run("retention", "--hold", "--store", "memory", "--space", "s-17", "--yes")
    shown = " ".join(run("retention").out.split())
    assert "retention of the store 'context', space 'x': forever" in shown
    assert "hold on the store 'memory', space 's-17': all content is kept, and purges are refused" in shown
    assert of(run, "retention", "--store", "memory") == {
        "retention_seconds": None,
        "policies": [{"store": "memory", "space": "s-17", "seconds": None, "hold": True}],
        "purge_after_seconds": None,
    }
    run("retention", "--lift", "--hold", "--store", "memory", "--space", "s-17", "--yes")
    lifted = of(run, "retention", "--lift", "--store", "context", "--space", "x", "--yes")
    assert [(policy["space"], policy["seconds"]) for policy in lifted["policies"]] == [(None, 2_592_000.0)]
    assert [policy["seconds"] for policy in of(run, "retention")["policies"]] == [2_592_000.0]
    said = " ".join(run("log").out.split())
    for part in (
        "retention context: 30 d",
        "retention context/x: forever",
        "hold memory/s-17",
        "hold memory/s-17 lifted",
        "retention context/x lifted",
    ):
        assert part in said, part


def test_it_asks_first(run: Run) -> None:
    refused = run("retention", "30d", "--store", "context")
    assert refused.code != 0
    assert "set the policy of the store 'context'" in refused.err
    assert run("retention", "--purge-after", "90d").code != 0
    assert of(run, "retention")["policies"] == []


def test_mistakes_are_named(run: Run) -> None:
    for arguments, said in (
        (("30d", "--store", "contexts"), "invalid store 'contexts'"),
        (("--hold",), "need store="),
        (("--lift",), "--lift needs --store"),
        (("30d", "--lift", "--store", "context"), "run two commands"),
        (("--lift", "--store", "context"), "no retention policy is set for the store 'context'"),
        (("30d", "--hold", "--store", "context"), "invalid age"),
        (("--purge-after", "soon"), "invalid duration 'soon'"),
        (("30d", "--purge-after", "90d"), "goes with no other setting"),
    ):
        result = run("retention", *arguments, "--yes")
        assert result.code != 0
        assert said in " ".join(result.err.split()), arguments


def test_purges_that_come_later(run: Run) -> None:
    assert "purged after 90 d" in run("retention", "--purge-after", "90d", "--yes").out
    assert of(run, "status")["purge_after_seconds"] == 7_776_000.0
    assert "purge after 90 d" in run("log").out
    assert of(run, "retention", "--purge-after", "off", "--yes")["purge_after_seconds"] is None


def test_optimize_shows_what_was_reclaimed(run: Run, world: Path) -> None:
    put_twice(world)
    run("retention", "0s", "--store", "context", "--yes")
    run("snapshot", "now")
    result = run("optimize").out
    assert re.search(r"context: content of \d superseded writes? reclaimed, [\d,]+ bytes", result)
    assert "reclaimed the content of" in run("log", "--steps").out + run("log").out
    again = of(run, "optimize")
    assert (again["content"], again["purged"], again["not_purged"]) == ({}, [], {})


def test_status_shows_the_content_by_store(run: Run) -> None:
    assert re.search(r"Content, about: .*context [\d.]+ k?B.*30 d would free", " ".join(run("status").out.split()))
    assert set(of(run, "status")["disk"]["context"]) == {"bytes", "freeable"}
