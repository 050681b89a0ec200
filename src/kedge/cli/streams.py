"""Output streams that never raise: a closed pipe, a full disk or a narrow encoding must not abort a command."""

import codecs
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

_PLAIN = {"…": "...", "→": "->", "·": "-", "“": '"', "”": '"', "’": "'", "—": "-"}
_ERRORS = "kedge-plain"
_STANDARD = range(3)  # file descriptors
_NON_ASCII = re.compile(r"[^\x00-\x7f]")


class GuardedStream:
    """A text stream that drops its output, and all that follows, once a write fails; `lost` says why."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # None: it was closed when the process began
        self.lost: OSError | None = None if stream is not None else OSError("it is closed")

    def __getattr__(self, name: str) -> Any:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """The encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal that still accepts output."""
        try:
            return self.lost is None and self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def writable(self) -> bool:
        """Return True: a write never fails."""
        return True

    def write(self, text: str) -> int:
        """Write text; replace characters that the encoding does not have."""
        if not isinstance(text, str):
            raise TypeError(f"write() needs a str, not {type(text).__name__}")
        if self.lost is None and self._stream is not None:
            try:
                self._stream.write(text.encode(self.encoding, _ERRORS).decode(self.encoding))
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Pass on what is buffered."""
        if self.lost is None and self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def _lose(self, error: OSError | ValueError) -> None:
        self.lost = error if isinstance(error, OSError) else OSError(str(error))
        # What is still buffered is written again when the process ends: to nowhere.
        with suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, cast("TextIO", self._stream).fileno())
            os.close(null)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c, c.encode("unicode_escape").decode()) for c in failed), error.end


codecs.register_error(_ERRORS, _replace)


@contextmanager
def guarded() -> Iterator[tuple[GuardedStream, GuardedStream]]:
    """Guard stdout and stderr until the end, and yield them."""
    _fill_standard_descriptors()
    before = sys.stdout, sys.stderr
    out, err = GuardedStream(sys.stdout), GuardedStream(sys.stderr)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield out, err
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _fill_standard_descriptors() -> None:
    """Open closed standard descriptors on /dev/null, so that no database file or socket is given their numbers."""
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)


def json_for(encoding: str, text: str) -> str:
    """Return a JSON text that an encoding can hold: as it is in UTF-8, else with escapes."""
    if encoding.lower().replace("_", "-") in {"utf-8", "utf8"}:
        return text
    return _NON_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
