"""Reader of trace files: their spans one by one, without holding a file in memory.

A file of lines holds one document a line, as the collector's file exporter writes it. A file that is one document is
read in elements: those of `resourceSpans` (OTLP/JSON) and of `data` (Jaeger). So at most one line or element is in
memory, and one longer than `ELEMENT_BYTES` is not read but named.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from kedge.discovery.traces import jaeger, otlp
from kedge.discovery.traces.model import BadPart
from kedge.discovery.traces.spans import Span
from kedge.errors import InvalidValue

ELEMENT_BYTES = 64 * 1024 * 1024
SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")
_CHUNK = 1 << 20
_LINES_LOOKED_AT = 5
_GZIP = b"\x1f\x8b"
_REASON = 300
_ARRAY_DEPTH = 2  # of `resourceSpans` and `data` in a document
_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')
_ARRAY = re.compile(rb'"(resourceSpans|resource_spans|data)"\s*:\s*\[\Z')
_NO_TRACES = (
    "no traces: neither `resourceSpans` nor `data`; the collector's file exporter must write format json, uncompressed"
)


class _Document(msgspec.Struct, rename={"resource_spans": "resourceSpans"}):
    resource_spans: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None


_DOCUMENT = msgspec.json.Decoder(_Document)


def trace_files(paths: Iterable[str | Path]) -> list[Path]:
    """Return the files to read: those given, and of a folder all below it with a suffix of `SUFFIXES`, sorted."""
    found: dict[Path, None] = {}
    for given in map(Path, paths):
        if given.is_dir():
            inside = sorted(each for each in given.rglob("*") if each.name.endswith(SUFFIXES) and each.is_file())
            if not inside:
                raise InvalidValue(f"no trace file in {given}: it must hold files named *{', *'.join(SUFFIXES)}")
            found.update(dict.fromkeys(inside))
        elif given.exists():
            found[given] = None
        else:
            raise InvalidValue(f"no file {given}: name trace files, or folders of them")
    return list(found)


def read_spans(path: Path) -> Iterator[Span | BadPart]:
    """Yield each span of a file, and what of it could not be read."""
    try:
        with _opened(path) as file:
            for place, element in _elements(file):
                yield from _spans(str(path), place, element)
    except (OSError, EOFError, zlib.error) as error:
        yield BadPart(str(path), "from here on", f"cannot be read: {error}"[:_REASON])


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    return cast("BinaryIO", gzip.open(path, "rb")) if packed else path.open("rb")


class _Element(msgspec.Struct, frozen=True):
    """A part of a file: a whole document, or one element of the array that `kind` names. `bad`: why it has no bytes."""

    kind: str
    content: bytes | msgspec.Raw = b""
    bad: str = ""


def _elements(file: BinaryIO) -> Iterator[tuple[str, _Element]]:
    head: list[bytes] = []
    in_lines = False
    while not in_lines and len(head) < _LINES_LOOKED_AT and (line := file.readline(ELEMENT_BYTES)):
        head.append(line)
        in_lines = _is_document(line)
        if len(line) == ELEMENT_BYTES:
            break
    if head and not in_lines:
        yield from _split(_chunks(head, file))
        return
    for number, line in enumerate(_lines(head, file), start=1):
        if line.strip():
            long = len(line) >= ELEMENT_BYTES
            yield f"line {number}", _Element("", bad=_too_long()) if long else _Element("", line)


def _is_document(line: bytes) -> bool:
    try:
        _DOCUMENT.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _lines(head: list[bytes], file: BinaryIO) -> Iterator[bytes]:
    yield from head
    while line := file.readline(ELEMENT_BYTES):
        yield line
        while len(line) == ELEMENT_BYTES and not line.endswith(b"\n"):  # the rest of a line that is too long
            line = file.readline(ELEMENT_BYTES)


def _too_long() -> str:
    return f"longer than {ELEMENT_BYTES >> 20} MiB; write smaller batches, one a line"


def _chunks(head: list[bytes], file: BinaryIO) -> Iterator[bytes]:
    yield from head
    while chunk := file.read(_CHUNK):
        yield chunk


def _spans(file: str, place: str, element: _Element) -> Iterator[Span | BadPart]:
    if element.bad:
        yield BadPart(file, place, element.bad)
        return
    decode = jaeger.spans_of if element.kind == "data" else otlp.spans_of
    try:
        if element.kind:
            parts = [(decode, element.content)]
        else:
            document = _DOCUMENT.decode(element.content)
            if document.resource_spans is None and document.data is None:
                yield BadPart(file, place, _NO_TRACES)
                return
            parts = [(otlp.spans_of, each) for each in document.resource_spans or ()]
            parts += [(jaeger.spans_of, each) for each in document.data or ()]
        for spans_of, content in parts:
            for span in spans_of(content):
                yield span if isinstance(span, Span) else BadPart(file, place, span[:_REASON])
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        yield BadPart(file, place, f"{error}"[:_REASON])


# ---------------------------------------------------------------- one document


def _split(chunks: Iterable[bytes]) -> Iterator[tuple[str, _Element]]:
    """Yield the elements of the arrays `resourceSpans` and `data` of one document, by counting its brackets."""
    splitter = _Splitter()
    for chunk in chunks:
        yield from splitter.feed(chunk)
    if not splitter.arrays:
        yield "document", _Element("", bad=_NO_TRACES)
    if splitter.strays:
        yield "document", _Element("", bad=f"{splitter.strays} pieces between the elements are no objects")
    if splitter.arrays and splitter.depth:
        yield f"element {splitter.number + 1}", _Element("", bad="the file ends inside this element")


class _Splitter:
    """State between chunks: the depth of brackets, whether inside a string, and the element begun."""

    def __init__(self) -> None:
        self.depth = 0
        self.number = 0
        self.arrays = 0
        self.strays = 0  # pieces of text between elements
        self._kind = ""  # the array that is being read
        self._before = b""  # text outside elements, since the last bracket
        self._element: bytearray | None = None
        self._long = False
        self._in_string = False
        self._escaped = False

    def feed(self, chunk: bytes) -> Iterator[tuple[str, _Element]]:
        """Take the next bytes; yield the elements that they complete."""
        at = 0
        if self._escaped:
            at, self._escaped = 1, False
        begun = 0
        while at < len(chunk):
            match = (_IN_STRING if self._in_string else _STRUCTURE).search(chunk, at)
            if match is None:
                break
            at, mark = match.end(), match.group()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark == b"\\":
                if at == len(chunk):
                    self._escaped = True
                at += 1
            elif mark in b"{[":
                self._keep(chunk[begun:at])
                begun = at
                self._open(mark)
            else:
                self._keep(chunk[begun:at])
                begun = at
                done = self._close()
                if done is not None:
                    yield f"element {self.number}", done
        self._keep(chunk[begun:])

    def _keep(self, part: bytes) -> None:
        if self._element is None:
            self._before = (self._before + part)[-64:]
            if self._kind and part.rstrip(b"{}[]").strip(b" \t\r\n,"):
                self.strays += 1
        elif not self._long:
            self._element += part
            if len(self._element) > ELEMENT_BYTES:
                self._element, self._long = bytearray(), True

    def _open(self, mark: bytes) -> None:
        self.depth += 1
        if self._kind and self._element is None and mark == b"{":
            self._element, self._base = bytearray(b"{"), self.depth
        elif not self._kind and mark == b"[":
            named = _ARRAY.search(self._before)
            if named and self.depth == _ARRAY_DEPTH:
                self._kind, self._array_depth = named.group(1).decode(), self.depth
                self.arrays += 1

    def _close(self) -> _Element | None:
        self.depth -= 1
        done = None
        if self._element is not None and self.depth == self._base - 1:
            content, self._element = bytes(self._element), None
            self.number += 1
            done = _Element(self._kind, bad=_too_long()) if self._long else _Element(self._kind, content)
            self._long = False
        elif self._kind and self._element is None and self.depth == self._array_depth - 1:
            self._kind = ""
        self._before = b""
        return done
