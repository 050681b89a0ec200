"""Databases of the release before the modules moved give the same answers as then.

`tests/fixtures/make_before_layout.py` made them, with that release.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.testing import postgres
from tests.contract.old_databases import differences, opened, restored_dump, restored_file
from tests.databases import drop
from tests.fixtures import make_before_layout as before

STORED: dict[str, Any] = json.loads(lzma.decompress(before.ANSWERS.read_bytes()))
POSITION = STORED["answers"]["position"]


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def k(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[kedge.Kedge]:
    """Open the restored database of one backend, at the moment at which it answered."""
    server: postgres.Server | None = None if backend == "sqlite" else request.getfixturevalue("postgres_server")
    url = restored_file(tmp_path) if server is None else restored_dump(server, tmp_path)
    with opened(url, durability="normal") as found:
        yield found
    if server is not None:
        drop(server, url)


def test_every_answer_is_what_it_was(k: kedge.Kedge) -> None:
    assert differences(before.answers(k), STORED["answers"]) == []
    assert [k.epoch, k.seq] == POSITION, "looking writes nothing"


def test_fsck_finds_nothing(k: kedge.Kedge) -> None:
    assert k.fsck(full=True).findings == ()


def test_a_repeated_call_finds_its_first_answer(k: kedge.Kedge) -> None:
    with k.turn(session="s1", agent="support") as turn:
        seq = turn.documents("kb").put("doc-1", "the text of a document", idempotency="doc-1")
        assert seq < POSITION[1]
        assert k.seq == POSITION[1], "nothing was written"


def test_a_header_of_then_is_accepted(k: kedge.Kedge, backend: str) -> None:
    with k.turn(agent="billing", parent=STORED["headers"][backend]) as child:
        assert child.session == "s2"
        assert child.lineage == {"prompt-v3"}


def test_what_comes_on_top_can_be_rolled_back(k: kedge.Kedge) -> None:
    before_v7 = before.answers(k)["views"]["a new session"]
    k.deploy("prompt-v7", {"support/prompt": "seven"}, canary=1.0)
    with k.turn(session="new", agent="support") as turn:
        turn.memory.append("user", "a new question")
        turn.context.put("case/1", {"state": "reopened"})
        turn.documents("kb").put("doc-9", "new", origin="derived")
        turn.vectors("kb").upsert(["r1", "brand-new"], before.vectors(2, 9), [{"n": 2000}, None])
        hits = turn.vectors("kb").search(before.vectors(1, 9)[0], k=1)
        assert hits[0].id == "r1"
    assert k.plan("prompt-v7").writes_total == 5
    assert k.rollback("prompt-v7").ok
    after = before.answers(k)["views"]["a new session"]
    assert after == before_v7
    assert [m.content for m in k.view(session="new").memory.history()] == ["a new question"]
    assert k.fsck(full=True).findings == ()


def test_what_was_deployed_then_can_be_changed_now(k: kedge.Kedge) -> None:
    assert k.reinstate("prompt-v5").status is kedge.Status.CANARY
    assert k.view(deployment="prompt-v5").context.get("case/2") == 2
    assert k.rollback("prompt-v5").ok
    assert [item.key for item in k.replay(before.again).replayed] == ["doc-1"]
    k.promote("embedder-v2")
    assert {hit.payload["n"] for hit in k.view().vectors("kb").search(before.vectors(1, 3)[0], k=10)} <= set(
        range(-9, 1)
    )
    assert k.rollback("prompt-v3").ok
    assert "prompt-v3" not in k.view().seen
    k.release_snapshot("before the rollback")
    k.release_snapshot("settled")
    k.optimize()
    assert k.fsck(full=True).findings == ()
