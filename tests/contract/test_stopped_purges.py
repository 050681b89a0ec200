"""A purge that stops after its commit: the message says what is done and what is not, and `recover` finishes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import kedge
from kedge.cli.main import main
from kedge.support import failpoints

STOPS = {
    "a full disk": kedge.StorageFull("no room to write to x (disk is full); nothing was written: free some space"),
    "a failed disk": kedge.OutcomeUnknown("the disk failed; what was being written is there wholly or not at all"),
    "a lock": kedge.Busy("x stayed locked for 60 s; nothing was done: try again"),
    "a lost server": kedge.Unreachable("x cannot be reached; nothing was done: try again"),
}


@contextmanager
def stopping(point: str, error: kedge.KedgeError) -> Iterator[None]:
    def stop() -> None:
        raise error

    failpoints.arm(point, stop, nth=1)
    try:
        yield
    finally:
        failpoints.disarm()


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("point", ["erase:before-commit", "erase-heads:before-commit"])
def test_a_purge_that_stops_says_what_is_done(
    place: str, stop: str, point: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with kedge.open(place) as k:
        k.deploy("v2", {"support/prompt": "bad"}, canary=1.0)
        with k.turn(session="s1", agent="support") as turn:
            turn.context.put("case/1", "bad")
        k.rollback("v2")
        with stopping(point, STOPS[stop]), pytest.raises(kedge.OutcomeUnknown) as caught:
            k.purge("v2", confirm="v2")
        said = str(caught.value)
        assert "'v2' is purged for good" in said
        assert "`kedge recover`" in said
        assert "nothing was" not in said
        assert ("free some space" in said) == (stop == "a full disk")
        assert caught.value.__cause__ is STOPS[stop]
        assert k.deployment("v2").status is kedge.Status.PURGED
        with stopping(point, STOPS[stop]):
            assert main(["recover", "--db", place]) == 6
        assert "nothing was" not in capsys.readouterr().err
        (done,) = k.recover()
        assert done.startswith("v2: purge finished")
        assert k.recover() == []
        assert k.fsck(full=True).findings == ()
