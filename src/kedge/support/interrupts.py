"""Deferral of signal handlers: code that Ctrl-C must not stop half-way, and the calls in it that it may stop."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[[int, FrameType | None], Any]

# Handlers of these raise, by default or by custom: Ctrl-C, an orderly stop, a time limit.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]


class _Shield:
    """The handlers in place of those of the program, and the signals that wait for them."""

    def __init__(self) -> None:
        found = {number: signal.getsignal(number) for number in _SIGNALS}
        self._handlers = {number: handler for number, handler in found.items() if callable(handler)}
        self._waiting: list[int] = []

    def raise_(self) -> None:
        with suppress(ValueError):  # an embedded Python, or a subinterpreter: no handler runs in this thread
            for number in self._handlers:
                signal.signal(number, self._handle)

    def lower(self) -> None:
        for number, handler in reversed(self._handlers.items()):  # Ctrl-C last: its handler may stop this
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)

    def deliver(self, frame: FrameType | None) -> None:
        if self._waiting:
            try:
                self._call(self._waiting.pop(0), frame)
            finally:  # the others wait no longer where one raises
                self.deliver(frame)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if _is_shielded(frame):
            if number not in self._waiting:  # as the kernel does
                self._waiting.append(number)
        else:
            self._call(number, frame)

    def _call(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handlers[number](number, frame)
        finally:
            chosen = signal.getsignal(number)
            if self in _shields and callable(chosen) and chosen != self._handle:  # the handler has chosen another one
                self._handlers[number] = chosen
                signal.signal(number, self._handle)


_shields: list[_Shield] = []  # of the main thread, the innermost last


def shielded(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a call during which signal handlers wait for its end, or for an `interruptible` call in it.

    A handler may raise at any instruction, again while the first exception is handled, and only in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return call(*args, **kwargs)
    shield = _Shield()
    try:
        _shields.append(shield)
        shield.raise_()
        return call(*args, **kwargs)
    finally:
        if shield in _shields:
            _shields.remove(shield)
        try:
            shield.lower()
        finally:
            shield.deliver(sys._getframe(1))  # noqa: SLF001 - the documented way to the caller's frame


def interruptible(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a call that signal handlers may end, within a `shielded` one."""
    if _shields and threading.current_thread() is threading.main_thread():
        _shields[-1].deliver(sys._getframe())  # noqa: SLF001 - as above
    return call(*args, **kwargs)


_SHIELDED, _INTERRUPTIBLE = shielded.__code__, interruptible.__code__


def _is_shielded(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not _INTERRUPTIBLE:
        if frame.f_code is _SHIELDED:
            return True
        frame = frame.f_back
    return False


def _after_fork() -> None:
    """Restore the program's handlers: where another thread has forked, no shielded call goes on in the child."""
    while _shields:
        _shields.pop().lower()


os.register_at_fork(after_in_child=_after_fork)
