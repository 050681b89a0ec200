"""Import from a Qdrant export: points in the JSON of its scroll API."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kedge.bulk.sources import Columns, Rows, Source, existing_path, ident, pick, stack
from kedge.errors import InvalidValue

_HOW = (
    "export the points with the scroll API (POST /collections/NAME/points/scroll with with_vector and with_payload "
    "true), one response or one point a line"
)
_SNAPSHOTS = {".snapshot", ".tar"}
_DECODE = msgspec.json.Decoder().decode


@contextmanager
def open_qdrant(path: str | Path, columns: Columns | None = None) -> Iterator[list[Source]]:
    """Open the one collection of a Qdrant export, named like the file.

    The file holds points, lists of points, or responses of the scroll API: one a line, or a single one. `vector` names
    one of the vectors of a point, `document` the field of the payload that goes to the documents.
    """
    found = existing_path(path, "file")
    if found.suffix in _SNAPSHOTS:
        raise InvalidValue(f"{found.name} is a snapshot, which only Qdrant can read; restore it in Qdrant and {_HOW}")
    if found.is_dir():
        raise InvalidValue(f"{str(path)!r} is a folder, and only Qdrant can read its storage; {_HOW}")
    wanted = columns or Columns()
    if wanted.ids is not None or wanted.payload is not None:
        raise InvalidValue("a Qdrant point has one id and one payload; omit ids and payload")
    yield [QdrantSource(found, wanted)]


class QdrantSource:
    """The points of an export."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._path = path
        self._document = columns.document
        self.name = path.stem
        self.metric: str | None = None  # an export does not state it
        self.rows = 0
        self.dim: int | None = None
        names: set[str] = set()
        self._vector: str | None = None
        for point in self._points():
            self.rows += 1
            names.update(_dense(point))
        if names:
            self._vector = self._choose(sorted(names), columns.vector)
            vectors = (_dense(point).get(self._vector) for point in self._points())
            self.dim = next(len(vector) for vector in vectors if vector is not None)
        elif self.rows:
            raise InvalidValue(f"no point of {path.name} has a vector: {_HOW}")

    def _choose(self, names: list[str], wanted: str | None) -> str:
        if wanted is not None:
            return pick(wanted, names, "vector", self._path.name)
        if len(names) > 1:
            raise InvalidValue(
                f"the points of {self._path.name} have the vectors {', '.join(map(repr, names))}, and a collection "
                "holds one of them; name one, and load each into its own collection"
            )
        return names[0]

    def batches(self, size: int) -> Iterator[Rows]:
        """Return the rows in order."""
        held: list[Any] = []
        for point in self._points():
            held.append(point)
            if len(held) == size:
                yield self._rows(held)
                held = []
        if held:
            yield self._rows(held)

    def _rows(self, points: list[Any]) -> Rows:
        kept = [(point, vector) for point in points if (vector := _dense(point).get(self._vector or "")) is not None]
        ids = [ident(point["id"], self._path.name) for point, _ in kept]
        payloads = [point.get("payload") for point, _ in kept]
        documents = None
        if self._document is not None:
            documents = [(payload or {}).get(self._document) for payload in payloads]
            payloads = [_without(payload, self._document) for payload in payloads]
        return Rows(ids, stack([vector for _, vector in kept], ids), payloads, documents, len(points) - len(kept))

    def _points(self) -> Iterator[Any]:
        for number, found in enumerate(self._read(), 1):
            for point in _points_in(found, f"{self._path.name}, document {number}"):
                if not isinstance(point, dict) or "id" not in point:
                    raise InvalidValue(f"{self._path.name} holds {point!r:.80}, not a point; {_HOW}")
                yield point

    def _read(self) -> Iterator[Any]:
        """Return the JSON documents of the file: one a line, or the whole file as one."""
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    found = _DECODE(line)
                except ValueError as error:
                    if number > 1:
                        raise InvalidValue(
                            f"line {number} of {self._path.name} is not JSON ({error}); {_HOW}"
                        ) from None
                    break
                yield found
            else:
                return
        try:
            yield _DECODE(self._path.read_bytes())
        except ValueError as error:
            raise InvalidValue(f"{self._path.name} is not JSON ({error}); {_HOW}") from None


def _points_in(found: Any, where: str) -> list[Any]:
    """Return the points of one document: a response of the scroll API, a list of points, or a point."""
    if isinstance(found, dict) and isinstance(found.get("result"), dict):
        found = found["result"]
    if isinstance(found, dict) and "points" in found:
        found = found["points"]
    if isinstance(found, dict):
        return [found]
    if isinstance(found, list):
        return found
    raise InvalidValue(f"{where} holds {found!r:.60}, not points; {_HOW}")


def _dense(point: Any) -> dict[str, Any]:
    """Return the dense vectors of a point by name; an unnamed one has the empty name."""
    given = point.get("vector")
    vectors = given if isinstance(given, dict) else {"": given}
    return {
        name: vector
        for name, vector in vectors.items()
        if isinstance(vector, list) and vector and not isinstance(vector[0], list)
    }


def _without(payload: Any, field: str) -> Any:
    return payload if payload is None else {name: value for name, value in payload.items() if name != field}
