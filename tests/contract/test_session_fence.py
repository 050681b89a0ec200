"""Settings of sessions on a database that older processes can still write to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import kedge
from kedge import Kedge
from tests.contract.test_states import raise_fence


@pytest.mark.both
def test_settings_want_a_finished_upgrade(k: Kedge) -> None:
    raise_fence(k, 3)
    with k.turn("s", "support"):
        pass
    k.deploy("new", {"support/prompt": "new"})
    calls: list[Callable[[], object]] = [
        lambda: k.turn("t", "support", unit_id="user-7"),
        lambda: k.turn("t", "support", refresh="promoted"),
        lambda: k.end_session("s"),
        lambda: k.fork_session("s", "t"),
        lambda: k.deploy("newer", {"support/prompt": "newer"}, allow=["user-7"]),
        lambda: k.promote("new", holdback=0.1),
    ]
    for refused in calls:
        with pytest.raises(kedge.IllegalTransition, match="run `kedge upgrade` first"):
            refused()
    assert [(info.session, info.ended) for info in k.sessions()] == [("s", False)]
    k.upgrade()
    with k.turn("t", "support", unit_id="user-7"):
        assert k.end_session("s").ended
    k.promote("new", holdback=0.1)
