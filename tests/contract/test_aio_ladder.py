"""The ladder and permits, awaited."""

from __future__ import annotations

import asyncio

import pytest

import kedge
import kedge.aio


def test_the_ladder_and_permits_awaited(place: str) -> None:
    async def story() -> None:
        async with kedge.aio.open(place, durability="normal") as k:
            entry = await k.ladder.tighten("supervised", "feature:support", reason="new", by="ann")
            assert await k.ladder.list() == [entry]
            assert k.ladder.two_persons is False
            with pytest.raises(AttributeError, match="a Ladder has no 'tightn'"):
                _ = k.ladder.tightn  # type: ignore[attr-defined]
            async with k.turn(session="s", agent="support") as turn:
                assert (turn.level, await turn.may("act")) == ("supervised", False)
                with pytest.raises(kedge.ApprovalNeeded) as error:
                    await turn.require("act", tool="refund", call={"order": 17})
                with pytest.raises(kedge.NotPermitted, match="a person does"):
                    await k.ladder.approve(error.value.request, by="ann")
            await k.ladder.approve(error.value.request, by="ann")
            async with k.turn(session="s", agent="support") as turn:
                async with await turn.require("act", tool="refund", call={"order": 17}) as permit:
                    assert (permit.approved_by, permit.tool, permit.label) == ("ann", "refund", False)
                    assert await permit.check() is permit
                with pytest.raises(kedge.NotPermitted, match="has ended"):
                    await permit.check()
            assert await k.ladder.loosen(entry.id, by="ann") == entry
            assert await k.levels() == {}

    asyncio.run(asyncio.wait_for(story(), 60))
