"""Ctrl-C, and what takes its time: a person is told what has happened by then, and what is being waited for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kedge.cli.terminal import whisper
from kedge.deployments.lifecycle import Deployment
from kedge.face import Kedge

OVERDUE_SECONDS = 1.0


class Stopped(Exception):
    """Somebody pressed Ctrl-C; the message says what had happened by then."""


@contextmanager
def accounted(k: Kedge, name: str, what: str) -> Iterator[None]:
    """Raise `Stopped` on Ctrl-C, saying whether `what` ("the rollback") was made: looked up, not remembered."""
    before = k.deployment(name)
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(_account(k, before, what)) from None


def _account(k: Kedge, before: Deployment, what: str) -> str:
    status = k.deployment(before.name).status
    if status == before.status:
        return f"stopped before {what} was made: {before.name} is {status}, as before, and nothing was changed"
    if any(each.deployment == before.name for each in k.status().unfinished):
        return (
            f"stopped, but {what} IS MADE: {before.name} is {status}. What follows from it is not finished: "
            "`kedge recover` finishes it, `kedge status` says how things stand"
        )
    return f"stopped, but {what} IS MADE: {before.name} is {status}, and nothing is left to do"


@contextmanager
def overdue(text: str, *, silent: bool) -> Iterator[Callable[[], object]]:
    """Say on stderr what is being waited for, unless the callback that this lends is called soon."""
    timer = threading.Timer(OVERDUE_SECONDS, whisper, (text, "yellow"))
    timer.daemon = True
    if not silent:
        timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()
