"""Warnings that name the user's line: the nearest one outside this package, also for calls that run in a thread."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

_SKIPPED = (f"{Path(__file__).parents[1]}{os.sep}", contextlib.__file__)  # the latter enters our context managers


class _Line(NamedTuple):
    filename: str
    number: int
    variables: dict[str, Any]  # of its module


_awaiting: ContextVar[_Line | None] = ContextVar("kedge_awaiting", default=None)


def warn_user(message: str, category: type[Warning]) -> None:
    """Issue a warning at the user's line.

    `warnings.warn` takes a fixed depth of calls (or, from Python 3.12 on, files to skip), and sees one thread only.
    """
    line = _awaiting.get() or _nearest()
    registry = line.variables.setdefault("__warningregistry__", {})
    module = line.variables.get("__name__") or line.filename
    warnings.warn_explicit(message, category, line.filename, line.number, module, registry)


@contextlib.contextmanager
def awaiting() -> Iterator[None]:
    """Take the current line for the user's line in calls that are handed to a thread, with these context variables."""
    token = _awaiting.set(_nearest())
    try:
        yield
    finally:
        _awaiting.reset(token)


def _nearest() -> _Line:
    frame: FrameType = sys._getframe(1)  # noqa: SLF001 - as `warnings` itself finds it; `inspect.stack` reads all files
    while frame.f_code.co_filename.startswith(_SKIPPED) and frame.f_back is not None:
        frame = frame.f_back
    return _Line(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)
