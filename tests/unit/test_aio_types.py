"""The types of the async façade are those of the sync classes, and mypy accepts what users write."""

import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT

ASYNC_PROGRAM = """
from typing import assert_type

import kedge
import kedge.aio


async def answer(turn: kedge.aio.AsyncTurn, item: kedge.ReplayInput) -> None:
    await turn.memory.append("assistant", str(item.value), origin="derived")


async def story() -> None:
    async with kedge.aio.open("state", durability="normal", threads=4) as k:
        assert_type(k, kedge.aio.AsyncKedge)
        assert_type(await k.deploy("v2", {"support/prompt": "x"}, canary=0.1), kedge.Deployment)
        await k.collection("kb", dim=2, metric="cosine")
        assert_type(k.epoch, int)
        async with k.turn(session="s", agent="support") as turn:
            assert_type(turn.lineage, frozenset[str])
            assert_type(turn.level, kedge.Level)
            assert_type(await turn.artifacts["support/prompt"], kedge.Artifact)
            assert_type(await turn.memory.history(limit=3), list[kedge.Message])
            assert_type(await turn.context.entry("a"), kedge.Entry | None)
            assert_type(await turn.vectors("kb").search([1.0, 0.0], k=1), kedge.Hits)
            assert_type(turn.vectors("kb").collection, kedge.Collection)
            async for rows in await turn.vectors("kb").batches(10):
                assert_type(rows, kedge.VectorRows)
        view = await k.view(session="s")
        assert_type(view, kedge.aio.AsyncReadView)
        assert_type(await k.diff(view, await k.at("friday")), kedge.Diff)
        assert_type(await k.rollback("v2", reason="bad"), kedge.RollbackReport)
        assert_type(await k.replay(answer), kedge.ReplayReport)
        async with await k.join("one") as member:
            assert_type(member.serving, bool)
"""
WRONG = """
import kedge.aio


async def story(k: kedge.aio.AsyncKedge, turn: kedge.aio.AsyncTurn) -> None:
    await k.rolback("v2")
    await turn.lineage()
    await turn.memory.append("user", "x", origin="user")
    turn.contxt
"""


def test_the_stub_is_up_to_date() -> None:
    subprocess.run([sys.executable, "tools/aio_stub.py", "--check"], cwd=ROOT, check=True)


def test_mypy_accepts_an_async_program_and_finds_slips_in_another(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(ASYNC_PROGRAM)
    wrong.write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir",
               str(ROOT / ".mypy_cache"), str(right), str(wrong)]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False).stdout
    assert all(f"wrong.py:{line}: error" in found for line in (6, 7, 8, 9)), found
    assert "right.py" not in found
    assert "Found 4 errors in 1 file (checked 2 source files)" in found
