"""A forked child does not wait for a lock that a thread of its parent held."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

import kedge
from kedge.backends.sqlite.group_commit import Lent
from tests.concurrency import fork

SECONDS = 20


@pytest.mark.only("sqlite", reason="the locks are its own; test_postgres forks with a pool")
@pytest.mark.parametrize("where", ["search", "append"])
def test_a_forked_child_does_not_wait_for_its_parent_s_threads(k: kedge.Kedge, where: str) -> None:
    with k.turn(agent="support") as turn:
        turn.vectors("kb").upsert(["a"], [[1.0, 2.0, 3.0]])
    backend: Any = k._kernel.backend
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        done.wait(SECONDS)

    def search() -> None:
        with backend.vectors._lock.here:
            hold()

    def append() -> None:
        def begin() -> Lent:  # this thread has the turn to write, and has not begun
            hold()
            return backend.database._begin(durable=True, interruptible=False)  # type: ignore[no-any-return]

        turns = backend.database.group_commit
        turns.leave(turns.enter(begin, shares=True), None)

    thread = threading.Thread(target=search if where == "search" else append)
    thread.start()
    held.wait(SECONDS)
    child = fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(SECONDS)
            k.view().vectors("kb").search([1.0, 2.0, 3.0])
            with k.turn(agent="support") as turn:
                turn.context.put("child", True)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert k.view().context.get("child") is True
