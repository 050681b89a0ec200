"""Texts in a collection of vectors: each text whole, and its chunks as vectors, in one batch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kedge.errors import ExpectationFailed, InvalidValue
from kedge.model.checks import check_callables, check_name
from kedge.model.ranges import below
from kedge.model.reads import RangeRead
from kedge.model.writes import LARGE_BYTES_MAX, Head, Key, Origin, Pending, VectorBatch, encode
from kedge.ports.vectors import Collection
from kedge.stores.scope import WritingScope
from kedge.stores.spaces import EmbeddingSpace, as_rows
from kedge.support.display import brief

Embed = Callable[[list[str]], Any]  # float32, shape (n, dim)
Split = Callable[[str], Iterable[str]]
_DIGITS = 6  # of the number of a chunk, so that the order of names is theirs


class _Plan(msgspec.Struct):
    """The writes of one call. `chunks`: the id, the text and the payload of each vector to make."""

    texts: list[Pending]
    chunks: list[tuple[str, str, bytes]]
    deletes: list[Pending]
    changed: list[str]


class TextWriter:
    """Writes texts and their chunks; what is there already is not written again."""

    def __init__(self, scope: WritingScope, collection: Collection, space: EmbeddingSpace, split: Split | None) -> None:
        if split is not None:
            check_callables(split=split)
        self._scope, self._collection, self._space, self._split = scope, collection, space, split
        self.plan = _Plan([], [], [], [])

    def add(self, ident: str, text: str | None, payload: Mapping[str, Any], *, source: bool) -> None:
        """Plan one text; None deletes it, with its chunks."""
        check_name("the id of a text", ident)
        if text is not None and not isinstance(text, str):
            raise InvalidValue(f"the text of {ident!r} is {brief(text)}, not a string; decode it first")
        planned = len(self.plan.texts), len(self.plan.chunks), len(self.plan.deletes)
        key = Key("documents", texts_of(self._collection.name), ident)
        if self._scope.awaits_end(key):
            raise InvalidValue(
                f"the text {ident!r} is in this batch already, and its chunks are not there to compare with; put each "
                "text once in a batch"
            )
        head = self._scope.read(lambda view: self._scope.backend.journal.head(view, key))
        if head is not None:
            self._scope.record_read((head,))
        stored = None if text is None else encode(text, f"the text {brief(ident)}", most=LARGE_BYTES_MAX)
        if stored != (None if head is None or head.deleted else head.payload):
            self.plan.texts.append(Pending(key, stored, source, expect=_seq_of(head)))
        self._add_chunks(ident, text, payload)
        if planned != (len(self.plan.texts), len(self.plan.chunks), len(self.plan.deletes)):
            self.plan.changed.append(ident)

    def _add_chunks(self, ident: str, text: str | None, payload: Mapping[str, Any]) -> None:
        there = self._there(ident)
        spaces = self._scope.backend.coverage.embedding_spaces(there.values())
        derived = self._scope.is_source(None, Origin.DERIVED)
        for number, chunk in enumerate(self._chunks(ident, text)):
            name = f"{ident}#{number:0{_DIGITS}}"
            packed = encode({**payload, "document": ident, "chunk": number, "text": chunk}, f"the payload of {name!r}")
            head = there.pop(name, None)
            if head is None or head.payload != packed or spaces.get(head.seq) != self._space.digest:
                self.plan.chunks.append((name, chunk, packed))
        self.plan.deletes += [Pending(head.key, None, derived) for head in there.values()]

    def _chunks(self, ident: str, text: str | None) -> Sequence[str]:
        if text is None:
            return ()
        chunks = [text] if self._split is None else list(self._split(text))
        if not all(isinstance(chunk, str) for chunk in chunks) or len(chunks) >= 10**_DIGITS:
            raise InvalidValue(f"split= returned {brief(chunks)} for {ident!r}: must be strings, fewer than a million")
        return chunks

    def _there(self, ident: str) -> dict[str, Head]:
        """Return the chunks of a text that are there, which reads their range."""
        prefix, name = f"{ident}#", self._collection.name
        found = self._scope.read(lambda view: self._scope.backend.journal.range(view, "vectors", name, below(prefix)))
        lineages = {head.lineage for head in found.heads} | found.tombstones
        self._scope.record_range(RangeRead("vectors", name, prefix, found.at_seq), lineages)
        return {head.key.name: head for head in found.heads if _is_number(head.key.name.removeprefix(prefix))}

    def write(self, embed: Embed, idempotency: str | None) -> list[str]:
        """Embed the new chunks, commit all as one batch, and return the ids of the texts that changed."""
        check_callables(embed=embed)
        plan, vectors = self.plan, None
        if plan.chunks:
            names, texts = [name for name, _, _ in plan.chunks], [text for _, text, _ in plan.chunks]
            rows = as_rows(embed(texts), self._space.dim, self._collection, names)
            vectors = VectorBatch(self._space.digest, self._space.dim, rows.tobytes(), first=len(plan.texts))
        derived = self._scope.is_source(None, Origin.DERIVED)
        puts = [
            Pending(Key("vectors", self._collection.name, name), packed, derived) for name, _, packed in plan.chunks
        ]
        writes = [*plan.texts, *puts, *plan.deletes]
        again = self._compare_again if plan.texts else None
        seqs = self._scope.write(writes, idempotency=idempotency, vectors=vectors, compare=again)
        return seqs and plan.changed  # type: ignore[return-value]  # None inside a batch, [] where nothing is written

    def _compare_again(self) -> int:
        """Compare at the end of a batch; return the seq to expect of the first text."""
        for text in self.plan.texts:
            found = self._scope.read(lambda view, key=text.key: self._scope.backend.journal.head(view, key))  # type: ignore[misc]
            if _seq_of(found) != text.expect:
                raise ExpectationFailed(
                    f"the text {text.key.name!r} of {self._collection.name!r} was written by somebody else while a "
                    "batch was open, and has other chunks; put it again",
                    seq=_seq_of(found),
                )
        return self.plan.texts[0].expect or 0


def _seq_of(head: Head | None) -> int:
    return 0 if head is None else head.seq


def texts_of(collection: str) -> str:
    """Return the name of the documents that hold the whole texts of a collection of vectors."""
    return f"{collection}/texts"


def _is_number(text: str) -> bool:
    return len(text) == _DIGITS and text.isascii() and text.isdecimal()
