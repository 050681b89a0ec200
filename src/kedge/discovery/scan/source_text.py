"""Source files as UTF-8 text with line feeds, whatever their encoding."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from typing import ClassVar

_HEAD = 8192
"""Bytes that are looked at to tell text from binary data."""
_ENCODED = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_FEW = 8
"""Control characters that any file may hold."""
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def normalized(source: bytes) -> bytes | None:
    """Return `source` as UTF-8 without a byte order mark and with line feeds; null for binary data.

    A file that is not UTF-8 is read as UTF-16 if it begins with that byte order mark, else as Latin-1. A null byte
    becomes a space. Data are binary if more than one byte in a hundred of the first 8 KiB is a control character.
    """
    for mark, encoding in _ENCODED:
        if source.startswith(mark):
            source = source[len(mark) :]
            if encoding != "utf-8":
                source = source.decode(encoding, "replace").encode("utf-8", "replace")
            break
    head = source[:_HEAD]
    if len(_CONTROL.findall(head)) > max(_FEW, len(head) // 100):
        return None
    if not source.isascii():
        try:
            source.decode("utf-8")
        except UnicodeDecodeError:
            source = source.decode("latin-1").encode("utf-8")
    if b"\r" in source:
        source = source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return source.replace(b"\0", b" ") if b"\0" in source else source


class LineIndex:
    """Lines of byte offsets, 1-based. Equal lines are the same object, which halves the memory of a large tree."""

    _shared: ClassVar[list[int]] = list(range(4096))

    def __init__(self, source: bytes) -> None:
        starts = [0]
        starts.extend(match.end() for match in re.finditer(rb"\n", source))
        self._starts = starts
        while len(self._shared) <= len(starts):
            self._shared.append(len(self._shared))

    def __call__(self, offset: int) -> int:
        """Return the line of a byte."""
        return self._shared[bisect_right(self._starts, offset)]
