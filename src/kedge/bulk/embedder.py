"""Caller of the user's embedder: imports it, runs it here or in worker processes, and reports failures per text."""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

from kedge.errors import InvalidValue, InvalidVector
from kedge.ports.vectors import Floats

Embed = Callable[[list[str]], Any]
FAILURES_MAX = 8  # documents that fail before any succeeds: then the embedder may be broken
_MATRIX = 2  # dimensions of an array


class Embedded(msgspec.Struct, frozen=True):
    """Result for a batch of texts: the rows of those that succeeded, and the reason for each failed position."""

    rows: Floats
    failed: dict[int, str]
    gave_up: bool = False


def load(embed: Callable[..., Any] | str) -> Callable[..., Any]:
    """Import the function that `package.module:function` names, or raise `InvalidValue`; return a function as it is."""
    if not isinstance(embed, str):
        if not callable(embed):
            raise InvalidValue(f"the embedder {embed!r:.80} is not a function; pass one, or 'package.module:function'")
        return embed
    module_name, colon, path = embed.partition(":")
    if not colon or not module_name or not path:
        raise InvalidValue(f"invalid function {embed!r}: must be package.module:function")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidValue(
            f"the embedder {embed!r} cannot be imported: {error}; install {module_name!r}, or put it in this folder"
        ) from error
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise InvalidValue(f"the module {module_name!r} has no function {path!r}; write package.module:function")
    return found  # type: ignore[no-any-return]  # checked to be callable; what it returns is checked at each call


def import_path(embed: Embed | str) -> str:
    """Return the path by which another process can import the function, or raise `InvalidValue`."""
    if isinstance(embed, str):
        load(embed)
        return embed
    module, name = getattr(embed, "__module__", None), getattr(embed, "__qualname__", None)
    path = f"{module}:{name}"
    if not module or not name or module == "__main__" or "<" in name:
        raise InvalidValue(
            f"other processes cannot import the embedder {embed!r:.80}; put it at the top level of a module, and pass "
            "it or 'package.module:function'; or use workers=0"
        )
    if load(path) != embed:
        raise InvalidValue(
            f"{path!r} is another function than the embedder that was passed; other processes would import it"
        )
    return path


def attempt(embed: Embed, texts: Sequence[str], known: str | None = None) -> Embedded:
    """Embed texts in one call; if that fails, one by one, to find which of them fail.

    It gives up if the first FAILURES_MAX texts all fail and so does `known`, a text that has been embedded before
    (without one, the last of the texts).
    """
    try:
        return Embedded(_as_rows(embed(list(texts)), len(texts)), {})
    except InvalidVector:
        raise
    except Exception as error:  # noqa: BLE001 - the embedder is the user's: its errors go into the report
        if len(texts) == 1:
            return Embedded(np.empty((0, 0), np.float32), {0: _described(error)})
    rows: list[Floats] = []
    failed: dict[int, str] = {}
    for position, text in enumerate(texts):
        alone = attempt(embed, [text])
        if not alone.failed:
            rows.append(alone.rows)
            continue
        failed[position] = alone.failed[0]
        is_suspect = not rows and len(failed) == min(FAILURES_MAX, len(texts))
        if is_suspect and attempt(embed, [texts[-1] if known is None else known]).failed:
            return Embedded(np.empty((0, 0), np.float32), failed, gave_up=True)
    return Embedded(np.concatenate(rows) if rows else np.empty((0, 0), np.float32), failed)


def _as_rows(found: Any, count: int) -> Floats:
    try:
        rows = np.ascontiguousarray(found, dtype="<f4")
    except (ValueError, TypeError) as error:
        raise InvalidVector(f"the embedder returned no float array ({error}); return shape (n, dim)") from None
    if rows.ndim != _MATRIX or len(rows) != count:
        raise InvalidVector(f"the embedder returned shape {rows.shape} for {count} texts; return ({count}, dim)")
    return rows


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class Caller:
    """Calls the embedder, here or in `workers` processes. A context manager: it ends the processes on exit."""

    def __init__(self, embed: Embed | str, workers: int) -> None:
        self.depth = 1 if workers == 0 else 2 * workers  # batches to keep in flight
        self._pool: ProcessPoolExecutor | None = None
        self._embed = load(embed)
        if workers:
            path = import_path(embed)
            context = multiprocessing.get_context("spawn")  # forking would carry locks and open databases along
            self._pool = ProcessPoolExecutor(workers, context, _begin, (list(sys.path),))
            self._path = path

    @property
    def digest(self) -> str | None:
        """The digest that the function declares, if any."""
        found = getattr(self._embed, "digest", None)
        return found if isinstance(found, str) else None

    def submit(self, texts: Sequence[str], known: str | None) -> "Future[Embedded]":
        """Start to embed these texts; `known` is a text that has been embedded before, if any."""
        answer: Future[Embedded] = Future()
        if self._pool is None:
            answer.set_result(attempt(self._embed, texts, known))
            return answer
        try:
            return self._pool.submit(_attempt_by_path, self._path, list(texts), known)
        except BrokenProcessPool as error:
            answer.set_exception(error)
            return answer

    def __enter__(self) -> Self:
        """Return the caller itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes: at once after an error, because their results are not needed."""
        if self._pool is None:
            return
        if kind is not None:
            for process in list((self._pool._processes or {}).values()):  # noqa: SLF001 - public from Python 3.14 on
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(path: list[str]) -> None:
    """Set up a worker: same import path as its parent, Ctrl-C left to the parent, ends with it."""
    sys.path[:] = path
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="kedge-worker", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the pipe from the parent breaks, also after SIGKILL
        os._exit(1)  # nobody reads the result of the running call


@cache
def _loaded(path: str) -> Embed:
    return load(path)


def _attempt_by_path(path: str, texts: list[str], known: str | None) -> Embedded:
    return attempt(_loaded(path), texts, known)
