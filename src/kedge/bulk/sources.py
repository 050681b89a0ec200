"""Protocol of a source of vectors to import, and checks that sources share."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from kedge.errors import InvalidValue, KedgeError, UnknownName, nearest
from kedge.ports.vectors import Floats
from kedge.support.validation import plain_reason


class Rows(msgspec.Struct, frozen=True):
    """A batch of rows: ids, vectors of shape (n, dim), and payloads and documents, one a row or None.

    `vectorless` counts the rows of this batch that have no vector and were left out.
    """

    ids: list[str]
    vectors: Floats
    payloads: list[Any] | None = None
    documents: list[Any] | None = None
    vectorless: int = 0


class Source(Protocol):
    """Rows to load; they can be iterated repeatedly.

    Laws: each `batches` of one size returns the same rows in the same order while the underlying data is unchanged, so
    that a stopped load can resume. A batch has at most `size` rows, and no more are held in memory.
    """

    @property
    def name(self) -> str:
        """Its name in the file or database."""

    @property
    def rows(self) -> int:
        """Number of rows, including those without a vector."""

    @property
    def dim(self) -> int | None:
        """Dimensions of the vectors; None without vectors."""

    @property
    def metric(self) -> str | None:
        """Metric: cosine, dot or l2; None where the source does not state it."""

    def batches(self, size: int) -> Iterator[Rows]:
        """Return the rows in order."""


class Columns(msgspec.Struct, frozen=True):
    """Where a source finds the parts of a row. Each kind of source defines the default and the allowed values."""

    ids: str | Path | Sequence[str] | None = None
    vector: str | None = None
    payload: str | Path | Sequence[str] | None = None
    document: str | None = None


def existing_path(path: str | Path, what: str) -> Path:
    """Return a path, or raise `UnknownName` if nothing exists there."""
    found = Path(path)
    if not found.exists():
        raise UnknownName(f"there is no {what} at {str(path)!r}; check the path")
    return found


@contextmanager
def readable(name: str, hint: str) -> Iterator[None]:
    """Translate errors of other packages while they read a file into `InvalidValue`, with a hint."""
    try:
        yield
    except KedgeError:
        raise
    except Exception as error:  # each package has its own error tree
        raise InvalidValue(f"{name} cannot be read ({plain_reason(error)}); {hint}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a panic in Rust is not an Exception
            raise
        raise InvalidValue(f"{name} cannot be read ({plain_reason(error)}); {hint}") from error


def pick(name: str, known: Sequence[str], what: str, where: str) -> str:
    """Return a name, or raise `UnknownName` if it is not among the known ones."""
    if name not in known:
        raise UnknownName(f"{where} has no {what} {name!r}{nearest(name, known)}; it has {', '.join(known) or 'none'}")
    return name


def pick_all(known: Sequence[str], wanted: Iterable[str] | None, what: str, where: str) -> list[str]:
    """Return the wanted names, or all."""
    return list(known) if wanted is None else [pick(name, known, what, where) for name in dict.fromkeys(wanted)]


def ident(value: object, where: str) -> str:
    """Return an id as text: a string, a whole number or a UUID."""
    if isinstance(value, bool | float | bytes | list | dict) or value is None:
        raise InvalidValue(f"{where} has the invalid id {value!r:.80}: must be a string, a whole number or a UUID")
    return str(value)


def stack(vectors: Sequence[Any], ids: Sequence[str]) -> Floats:
    """Return vectors, one a row, as a matrix; raise `InvalidValue` if their lengths differ."""
    if not vectors:
        return np.empty((0, 0), np.float32)
    dim = len(vectors[0])
    odd = next((position for position, vector in enumerate(vectors) if len(vector) != dim), None)
    if odd is not None:
        raise InvalidValue(
            f"the vector of {ids[odd]!r} has {len(vectors[odd])} dimensions, that of {ids[0]!r} {dim}; "
            "a collection holds vectors of one length; load them into separate collections"
        )
    try:
        return np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"the vectors from {ids[0]!r} on are not numbers ({error}); correct them") from None
