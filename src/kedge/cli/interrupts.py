"""Ctrl-C during a change, and notices about long waits."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from kedge.cli.terminal import whisper
from kedge.errors import KedgeError

if TYPE_CHECKING:  # a stop must not need what opens a database
    from kedge.deployments.lifecycle import Deployment
    from kedge.face import Kedge

OVERDUE_SECONDS = 1.0


class Stopped(Exception):
    """Ctrl-C was pressed; the message says what had been done by then."""


def ignore_interrupts() -> None:
    """Ignore Ctrl-C from here to the end of the command: what it did is known, and only its report is left."""
    with suppress(ValueError):  # in another thread than the main one, where no Ctrl-C is heard
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def end_on_term() -> Iterator[None]:
    """End what runs inside at SIGTERM as at Ctrl-C, so that it gives back what it holds."""
    before = None
    with suppress(ValueError):  # in another thread than the main one, where no signal is heard
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def report_interrupt(k: "Kedge", name: str, what: str) -> Iterator[None]:
    """Raise `Stopped` on Ctrl-C, saying whether `what` ("the rollback") was committed, as read from the database."""
    before = k.deployment(name)
    try:
        yield
        ignore_interrupts()
    except KeyboardInterrupt:
        try:
            told = _outcome(k, before, what)
        except (KeyboardInterrupt, KedgeError) as error:
            why = f" ({error})" if isinstance(error, KedgeError) else ""
            told = f"stopped; whether {what} of {name} is committed is not known{why}: run `kedge status`"
        raise Stopped(told) from None


def _outcome(k: "Kedge", before: "Deployment", what: str) -> str:
    status = k.deployment(before.name).status
    if status == before.status:
        return f"stopped before {what} was committed: {before.name} is still {status}; nothing was changed"
    if any(each.deployment == before.name for each in k.status().unfinished):
        return (
            f"stopped, but {what} IS COMMITTED: {before.name} is {status}. Its remaining steps are not finished: "
            "run `kedge recover` to finish them"
        )
    return f"stopped, but {what} IS COMMITTED: {before.name} is {status}; nothing is left to do"


@contextmanager
def notice_if_slow(text: str, *, silent: bool) -> Iterator[Callable[[], object]]:
    """Print `text` on stderr after `OVERDUE_SECONDS`, unless the yielded callback is called before."""
    timer = threading.Timer(OVERDUE_SECONDS, whisper, (text, "yellow"))
    timer.daemon = True
    if not silent:
        timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()
