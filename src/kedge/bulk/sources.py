"""What a source of vectors is: rows in batches, whatever they lie in."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from kedge.errors import InvalidValue, KedgeError, UnknownName, nearest
from kedge.ports.vectors import Floats


class Rows(msgspec.Struct, frozen=True):
    """Some rows: ids, vectors of shape (n, dim), and what goes with them, one each or none at all.

    `vectorless` counts the rows that stood among them without a vector, and were left out.
    """

    ids: list[str]
    vectors: Floats
    payloads: list[Any] | None = None
    documents: list[Any] | None = None
    vectorless: int = 0


class Source(Protocol):
    """Rows to load, that can be gone through again and again.

    Laws: each `batches` of one size gives the same rows in the same order, as long as what they lie in is not changed,
    so that a load which was stopped can go on; a batch has at most `size` rows, and holds no more than that in memory.
    """

    @property
    def name(self) -> str:
        """What it is called where it lies."""

    @property
    def rows(self) -> int:
        """How many, those without a vector included."""

    @property
    def dim(self) -> int | None:
        """How many dimensions the vectors have; None where there is none."""

    @property
    def metric(self) -> str | None:
        """What they are compared by: cosine, dot or l2; None where the source does not say."""

    def batches(self, size: int) -> Iterator[Rows]:
        """Return the rows in order."""


class Columns(msgspec.Struct, frozen=True):
    """Where the parts of a row are to be found; what None means, and what may be given, each kind of source says."""

    ids: str | Path | Sequence[str] | None = None
    vector: str | None = None
    payload: str | Path | Sequence[str] | None = None
    document: str | None = None


def there(path: str | Path, what: str) -> Path:
    """Return the path of a file or folder that has to be there."""
    found = Path(path)
    if not found.exists():
        raise UnknownName(f"there is no {what} at {str(path)!r}; check the path")
    return found


@contextmanager
def readable(name: str, hint: str) -> Iterator[None]:
    """Turn what other packages raise on a file that they cannot read into `InvalidValue`, with a hint."""
    try:
        yield
    except KedgeError:
        raise
    except Exception as error:  # each has a tree of its own, with no root in common
        raise InvalidValue(f"{name} cannot be read ({error}); {hint}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a panic in Rust is no Exception
            raise
        raise InvalidValue(f"{name} cannot be read ({error}); {hint}") from error


def pick(name: str, known: Sequence[str], what: str, where: str) -> str:
    """Return a name that has to be among the known ones."""
    if name not in known:
        raise UnknownName(f"{where} has no {what} {name!r}{nearest(name, known)}; it has {', '.join(known) or 'none'}")
    return name


def chosen(known: Sequence[str], wanted: Iterable[str] | None, what: str, where: str) -> list[str]:
    """Return the names that were asked for, or all."""
    return list(known) if wanted is None else [pick(name, known, what, where) for name in dict.fromkeys(wanted)]


def ident(value: object, where: str) -> str:
    """Return an id as text: a string, a whole number or a UUID."""
    if isinstance(value, bool | float | bytes | list | dict) or value is None:
        raise InvalidValue(f"{where} has the id {value!r:.80}; an id is a string, a whole number or a UUID")
    return str(value)


def stack(vectors: Sequence[Any], ids: Sequence[str]) -> Floats:
    """Return vectors, one a row, as a matrix; raise `InvalidValue` where one has another length."""
    if not vectors:
        return np.empty((0, 0), np.float32)
    dim = len(vectors[0])
    odd = next((position for position, vector in enumerate(vectors) if len(vector) != dim), None)
    if odd is not None:
        raise InvalidValue(
            f"the vector of {ids[odd]!r} has {len(vectors[odd])} dimensions, that of {ids[0]!r} {dim}; "
            "a collection holds vectors of one length: load them apart"
        )
    try:
        return np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"the vectors from {ids[0]!r} on are no numbers ({error}); look at them") from None
