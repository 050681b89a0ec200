"""Databases of the release before the modules moved give the same answers as then.

`tests/fixtures/make_before_layout.py` made them, with that release.
"""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.testing import postgres
from tests.databases import create, drop
from tests.fixtures import make_before_layout as before

STORED: dict[str, Any] = json.loads(lzma.decompress(before.ANSWERS.read_bytes()))
LATER_IDS = 10**6  # above those that the program counted
POSITION = STORED["answers"]["position"]

Restore = Callable[[], str]


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def k(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[kedge.Kedge]:
    """Open the restored database of one backend, at the moment at which it answered."""
    server: postgres.Server | None = None if backend == "sqlite" else request.getfixturevalue("postgres_server")
    url = _restored_file(tmp_path) if server is None else _restored_dump(server, tmp_path)
    clock = before.Clock(first_id=LATER_IDS, time=before.END)
    with kedge.open(url, durability="normal", clock=clock) as opened:
        yield opened
    if server is not None:
        drop(server, url)


def _restored_file(folder: Path) -> str:
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(before.SQLITE.read_bytes()))) as tar:
        tar.extractall(folder, filter="data")
    return f"sqlite:///{folder / 'kedge.db'}"


def _restored_dump(server: postgres.Server, folder: Path) -> str:
    url = create(server, empty=True)
    dump = folder / "dump.sql"
    dump.write_bytes(lzma.decompress(before.POSTGRES.read_bytes()))
    quiet = ("--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1")
    server.client("psql", *quiet, f"--file={dump}", url.rpartition("/")[2])
    return url


def as_known(found: Any, then: Any) -> Any:
    """Return an answer without the fields that it did not have then; the wording of pins may change."""
    if isinstance(found, list | tuple) and isinstance(then, list) and len(found) == len(then):
        return [as_known(*pair) for pair in zip(found, then, strict=True)]
    if not isinstance(found, dict) or not isinstance(then, dict):
        return found
    known = {key: as_known(found[key], value) for key, value in then.items() if key in found}
    if "pins" in then and known["pins"].keys() == then["pins"].keys():
        known["pins"] = then["pins"]
    return known


def test_every_answer_is_what_it_was(k: kedge.Kedge) -> None:
    found = before.answers(k)
    for part, then in STORED["answers"].items():
        assert as_known(found[part], then) == then, part
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
