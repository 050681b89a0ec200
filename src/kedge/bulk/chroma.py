"""Import from a Chroma folder. It reads a copy, because opening a folder migrates its schema."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kedge.bulk.sources import Rows, Source, existing_path, pick_all, readable, stack
from kedge.errors import InvalidValue
from kedge.support.optional import require

_DATABASE = "chroma.sqlite3"
_METRICS = {"cosine": "cosine", "ip": "dot", "l2": "l2"}
_NEWER = "if a newer Chroma wrote it, install that version"
_SIDE_FILES = ("-wal", "-shm", "-journal")


@contextmanager
def open_chroma(path: str | Path, collections: Iterable[str] | None = None) -> Iterator[list[Source]]:
    """Open the collections of a Chroma folder, all or the named ones. Metadata becomes the payload."""
    folder = existing_path(path, "folder")
    if not (folder / _DATABASE).is_file():
        raise InvalidValue(f"{str(path)!r} is not a Chroma folder: it holds no {_DATABASE}; name the folder that does")
    chromadb = require("chromadb", "chroma")
    with tempfile.TemporaryDirectory(prefix="kedge-import-") as temporary:
        copy = Path(temporary) / "chroma"
        _copy(folder, copy)
        with readable("the environment or the .env file of this folder", "unset these, or run it in another folder"):
            settings = chromadb.Settings(anonymized_telemetry=False)
        with readable(str(path), _NEWER):
            client = chromadb.PersistentClient(str(copy), settings=settings)
            found = {str(collection.name): collection for collection in client.list_collections()}
        names = pick_all(sorted(found), collections, "collection", str(path))
        try:
            yield [ChromaSource(found[name]) for name in names]
        finally:
            if hasattr(client, "close"):  # older clients have none
                client.close()


def _copy(folder: Path, copy: Path) -> None:
    """Copy a Chroma folder; its database is copied at one instant, even while it is written to."""
    try:
        shutil.copytree(
            folder, copy, ignore=shutil.ignore_patterns(_DATABASE, *(_DATABASE + end for end in _SIDE_FILES))
        )
        with (
            closing(sqlite3.connect(f"{(folder / _DATABASE).resolve().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(copy / _DATABASE)) as new,
        ):
            old.backup(new)
    except (OSError, sqlite3.Error, shutil.Error) as error:
        raise InvalidValue(
            f"{str(folder)!r} cannot be copied ({error}); make room for temporary files (TMPDIR)"
        ) from None


class ChromaSource:
    """The rows of one Chroma collection."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection
        self.name = str(collection.name)
        self.rows = int(collection.count())
        space = ((collection.configuration_json or {}).get("hnsw") or {}).get("space")
        self.metric = _METRICS.get(space or (collection.metadata or {}).get("hnsw:space", "l2"))
        self.dim = next((rows.vectors.shape[1] for rows in self.batches(1) if rows.ids), None)

    def batches(self, size: int) -> Iterator[Rows]:
        """Return the rows in order."""
        parts = ["embeddings", "metadatas", "documents"]
        for start in range(0, self.rows, size):
            with readable(f"the collection {self.name!r}", _NEWER):
                found = self._collection.get(limit=size, offset=start, include=parts)
            yield _rows(found["ids"], *(found[part] for part in parts))


def _rows(ids: list[str], embeddings: Any, metadatas: list[Any], documents: list[Any]) -> Rows:
    places = [place for place, vector in enumerate(embeddings) if vector is not None]
    kept = [ids[place] for place in places]
    vectors = stack([embeddings[place] for place in places], kept)
    # Chroma returns fields in any order, but a row that is loaded again must be identical.
    payloads = [None if metadatas[place] is None else dict(sorted(metadatas[place].items())) for place in places]
    return Rows(kept, vectors, payloads, [documents[place] for place in places], len(ids) - len(kept))
