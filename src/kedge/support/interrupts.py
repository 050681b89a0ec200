"""Deferral of signal handlers: code that Ctrl-C must not stop half-way, and the calls in it that it may stop."""

import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

try:  # the functions below those of `signal`, which convert numbers to enums: 0.2 µs for 4 µs
    from _signal import getsignal  # type: ignore[import-not-found]
    from _signal import signal as set_signal
except ImportError:
    from signal import getsignal
    from signal import signal as set_signal

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[[int, FrameType | None], Any]

# Handlers of these raise, by default or by custom: Ctrl-C, an orderly stop, a time limit.
_SIGNALS = [int(getattr(signal, name)) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]
_SIGNALS_REVERSED = _SIGNALS[::-1]


class _Shield:
    """The handlers in place of those of the program, and the signals that wait for them. There is one."""

    def __init__(self) -> None:
        self._users: list[object] = []  # what it is raised for, in the main thread
        self._handlers: dict[int, Handler] = {}  # of the program
        self._own = self._handle  # one object: it is compared by identity
        self.waiting: list[int] = []
        self.main = threading.main_thread().ident  # only there do handlers run

    def raise_for(self, user: object) -> None:
        """Put the handlers in place; from then on, nothing stops the shielded caller."""
        if not self._users:
            try:
                for number in _SIGNALS:
                    handler = getsignal(number)
                    if handler is not self._own and callable(handler):  # it is where the program saved and restored it
                        self._handlers[number] = handler
                        set_signal(number, self._own)
            except ValueError:  # an embedded Python, or a subinterpreter: no handler runs in this thread
                pass
        self._users.append(user)

    def lower_for(self, user: object, frame: FrameType | None) -> None:
        """Restore the handlers of the program once nothing is shielded, and call those whose signals wait."""
        try:
            if user in self._users:
                self._users.remove(user)
            if not self._users:
                for number in _SIGNALS_REVERSED:  # Ctrl-C last: its handler may stop this
                    if getsignal(number) is self._own:
                        set_signal(number, self._handlers[number])
        finally:
            if self.waiting:
                self.deliver(frame)

    def after_fork(self) -> None:
        """Restore the handlers: where another thread has forked, no shielded call goes on in the child."""
        self.main = threading.main_thread().ident
        self._users, self.waiting = [], []
        self.lower_for(None, None)

    def deliver(self, frame: FrameType | None) -> None:
        """Call the handlers of the signals that wait, unless this frame is shielded, too."""
        if self.waiting and not _is_shielded(frame):
            try:
                self._call(self.waiting.pop(0), frame)
            finally:  # the others wait no longer where one raises
                self.deliver(frame)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if _is_shielded(frame):
            if number not in self.waiting:  # as the kernel does
                self.waiting.append(number)
        else:
            self._call(number, frame)

    def _call(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handlers[number](number, frame)
        finally:
            chosen = getsignal(number)
            if self._users and callable(chosen) and chosen is not self._own:  # the handler has chosen another one
                self._handlers[number] = chosen
                set_signal(number, self._own)


_SHIELD = _Shield()
os.register_at_fork(after_in_child=_SHIELD.after_fork)


def shielded(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a call during which signal handlers wait for its end, or for an `interruptible` call in it.

    A handler may raise at any instruction, again while the first exception is handled, and only in the main thread.
    """
    if threading.get_ident() != _SHIELD.main:
        return call(*args, **kwargs)
    user = object()
    try:
        _SHIELD.raise_for(user)
        return call(*args, **kwargs)
    finally:
        _SHIELD.lower_for(user, sys._getframe(1))  # noqa: SLF001 - the documented way to the caller's frame


def interruptible(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a call that signal handlers may end, within a shielded one."""
    if _SHIELD.waiting and threading.get_ident() == _SHIELD.main:
        _SHIELD.deliver(sys._getframe())  # noqa: SLF001 - as above
    return call(*args, **kwargs)


class Shielded(ABC, Generic[T]):
    """A `with` statement that takes something and gives it back: signal handlers may end its block, and only that.

    A context manager of `contextlib` does not do: Ctrl-C between the taking and the block would leave it taken.
    """

    _is_main = False

    @abstractmethod
    def take(self) -> T:
        """Return what the block works with; where this raises, nothing is taken."""

    @abstractmethod
    def give(self, error: BaseException | None) -> None:
        """Give it back after the block, which this exception has ended."""

    def __enter__(self) -> T:
        """Take it."""
        if threading.get_ident() != _SHIELD.main:
            return self.take()
        is_taken = False
        try:
            _SHIELD.raise_for(self)
            self._is_main = True
            taken = self.take()
            is_taken = True
            if _SHIELD.waiting:
                interruptible(_nothing)
        except BaseException as error:
            try:
                if is_taken:
                    self.give(error)
            finally:
                _SHIELD.lower_for(self, sys._getframe(1))  # noqa: SLF001 - as above
            raise
        return taken

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Give it back."""
        try:
            self.give(error)
        finally:
            if self._is_main and threading.get_ident() == _SHIELD.main:
                _SHIELD.lower_for(self, sys._getframe(1))  # noqa: SLF001 - as above


def _nothing() -> None:
    pass


def let_interrupt(function: Callable[..., object], *, outside: Callable[..., object]) -> None:
    """Let signal handlers end calls of a function of another package, which expects it, in shielded calls.

    They do not where `outside`, another function of that package, is what calls it.
    """
    _ENDED.add(_code(function))
    _KEPT.add(_code(outside))


def _code(function: Callable[..., object]) -> CodeType:
    assert isinstance(function, FunctionType)  # noqa: S101 - the caller names it
    return function.__code__


_ENDED: set[CodeType] = set()
_KEPT: set[CodeType] = set()
_INTERRUPTIBLE = interruptible.__code__
_SHIELDED = {function.__code__ for function in (shielded, Shielded.__enter__, Shielded.__exit__)}


def _is_shielded(frame: FrameType | None) -> bool:
    may_end = False
    while frame is not None and (code := frame.f_code) is not _INTERRUPTIBLE:
        if code in _SHIELDED:
            return not may_end
        may_end = code not in _KEPT and (may_end or code in _ENDED)
        frame = frame.f_back
    return False
