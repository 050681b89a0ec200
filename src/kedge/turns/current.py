"""The turn that a context works in: a context variable, which tasks inherit and `bind` carries into threads.

For code that runs without the caller's context, the open turns of a database by session.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Open(Protocol):
    """A turn, as far as its context knows it."""

    @property
    def is_open(self) -> bool:
        """Whether the turn has not ended."""


class _Begun(NamedTuple):
    turn: "weakref.ReferenceType[Open]"
    owner: int  # the id of the open database; it lives as long as the turn is open
    entered: bool

    def is_of(self, owner: object) -> bool:
        """Return whether the turn is of this open database; None: of any."""
        return owner is None or self.owner == id(owner)


class InSession(Open, Protocol):
    """A turn, as far as the list of open turns knows it."""

    @property
    def id(self) -> str:
        """The turn's id."""

    @property
    def session(self) -> str | None:
        """The session, or None."""


class OpenTurns:
    """The open turns of one database in this process. It keeps none alive; each operation on its map is atomic."""

    def __init__(self) -> None:
        self._turns: dict[str, weakref.ReferenceType[InSession]] = {}

    def add(self, turn: InSession) -> None:
        """Add a turn."""
        turns, ident = self._turns, turn.id
        turns[ident] = weakref.ref(turn, lambda _: turns.pop(ident, None))

    def remove(self, turn: InSession) -> None:
        """Remove a turn that ended."""
        self._turns.pop(turn.id, None)

    def only(self, session: str) -> InSession | None:
        """Return the only open turn of a session; None where none is open, or several are."""
        turns = [turn for known in list(self._turns.values()) if (turn := known()) is not None]
        found = [turn for turn in turns if turn.session == session and turn.is_open]
        return found[0] if len(found) == 1 else None


_begun: ContextVar[tuple[_Begun, ...]] = ContextVar("kedge_turns", default=())
_line: ContextVar[int | None] = ContextVar("kedge_line", default=None)
NO_LINE = -1


def line() -> int:
    """Return the line of work that a call belongs to: calls of one line come one after another, in the code's order.

    It is the thread, or what `working_on` says; `NO_LINE` where nothing is known of the order.
    """
    found = _line.get()
    return threading.get_ident() if found is None else found


@contextmanager
def working_on(line: int | None) -> Iterator[None]:
    """Say to which line of work the calls inside belong, where threads do not tell. None changes nothing."""
    if line is None:
        yield
        return
    token = _line.set(line)
    try:
        yield
    finally:
        _line.reset(token)


def begin(turn: Open, owner: object) -> None:
    """Note that a turn of an open database began in this context. No token is kept: it may end in another one."""
    _begun.set((*_without(turn), _Begun(weakref.ref(turn), id(owner), entered=False)))


def enter(turn: Open, owner: object) -> None:
    """Make a turn the current one of this context, until it ends."""
    _begun.set((*_without(turn), _Begun(weakref.ref(turn), id(owner), entered=True)))


def leave(turn: Open) -> None:
    """Forget a turn that ended."""
    _begun.set(_without(turn))


def entered(owner: object = None) -> Open | None:
    """Return the open turn that this context entered last (of this open database), or None."""
    return next((turn for turn, begun in reversed(_open(owner)) if begun.entered), None)


def entered_last(owner: object = None) -> Open | None:
    """Return the turn that this context entered last and has not left, open or ended; or None."""
    turns = (begun.turn() for begun in reversed(_begun.get()) if begun.entered and begun.is_of(owner))
    return next((turn for turn in turns if turn is not None), None)


def is_inside(owner: object) -> bool:
    """Return whether this context has entered a turn of this open database."""
    return any(begun.entered and begun.owner == id(owner) for _, begun in _open())


def current(owner: object = None) -> Open | None:
    """Return the turn that this context works in: entered last, or else the only one that it began; or None.

    With `owner`, only turns of this open database count.
    """
    found = entered(owner)
    if found is not None:
        return found
    turns = _open(owner)
    return turns[0][0] if len(turns) == 1 else None


def bind(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that works in this context's turn, in whichever thread it is called."""
    carried = _begun.get()

    @wraps(function)
    def bound(*arguments: P.args, **options: P.kwargs) -> R:
        token = _begun.set(carried)
        try:
            return function(*arguments, **options)
        finally:
            _begun.reset(token)

    return bound


def _open(owner: object = None) -> list[tuple[Open, _Begun]]:
    found = ((begun.turn(), begun) for begun in _begun.get() if begun.is_of(owner))
    return [(turn, begun) for turn, begun in found if turn is not None and turn.is_open]


def _without(turn: Open) -> tuple[_Begun, ...]:
    """Return what this context knows without a turn, and without those that ended, except where it is inside them."""
    kept = []
    for begun in _begun.get():
        known = begun.turn()
        if known is not None and known is not turn and (known.is_open or begun.entered):
            kept.append(begun)
    return tuple(kept)
