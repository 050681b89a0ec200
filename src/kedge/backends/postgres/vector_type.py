"""Vector encoding: little-endian float32 here, pgvector's type or plain bytes in the database."""

from typing import Any

import numpy as np
import psycopg
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.types import TypeInfo

from kedge.backends.postgres.link import Connection
from kedge.ports.vectors import METRICS, Floats

DIM_MAX = 16_000  # of pgvector's type
DISTANCES = dict(zip(METRICS, ("<=>", "<#>", "<->"), strict=True))  # cosine, negated dot, l2
OPERATORS = dict(zip(METRICS, ("vector_cosine_ops", "vector_ip_ops", "vector_l2_ops"), strict=True))
INDEXED_DIM_MAX = 2_000  # of what pgvector indexes in this type
_TYPE = """
SELECT t.oid::int8, t.typarray::int8, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = 'kedge.vector_rows'::regclass AND a.attname = 'vector'
"""
_LENGTH_MIN, _LENGTH_MAX = 1e-12, 1e12
_UNIT_ERROR = 1.01 * 2.0**-24  # of pgvector's float32 sums, as in the SQLite backend's ranking
_UNDERFLOW = 2.0**-126
_HEADER = 4  # the dimension and a spare word, 2 bytes each, big-endian


class Vector(bytes):
    """One vector: little-endian float32."""

    __slots__ = ()


class VectorDumper(Dumper):
    """Encodes a vector in pgvector's binary format."""

    format = psycopg.pq.Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        """Return the bytes to send."""
        swapped = np.frombuffer(obj, "<f4").astype(">f4").tobytes()
        return (len(obj) // 4).to_bytes(2, "big") + b"\0\0" + swapped


class VectorLoader(Loader):
    """Decodes a vector from pgvector's binary format."""

    format = psycopg.pq.Format.BINARY

    def load(self, data: Buffer) -> bytes:
        """Return the vector."""
        return np.frombuffer(data, ">f4", offset=_HEADER).astype("<f4").tobytes()


def register(connection: Connection, oid: int, array_oid: int) -> None:
    """Register pgvector's type with a connection; its ids differ between databases."""
    TypeInfo("vector", oid, array_oid).register(connection)
    dumper = type("VectorDumper", (VectorDumper,), {"oid": oid})
    connection.adapters.register_dumper(Vector, dumper)
    connection.adapters.register_loader(oid, VectorLoader)


def vector_oids(connection: Connection) -> tuple[int, int] | None:
    """Return the ids of pgvector's type and of its array type, or None if vectors are stored as plain bytes."""
    row = connection.execute(_TYPE).fetchone()
    return None if row is None or row[2] != "vector" else (row[0], row[1])


def are_plain(rows: Floats) -> bool:
    """Say whether pgvector can compare these vectors: it sums squares in float32, which over- or underflow."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return bool(np.all((lengths == 0) | ((lengths > _LENGTH_MIN) & (lengths < _LENGTH_MAX))))


def as_floats(rows: list[bytes]) -> Floats:
    """Return vectors as the rows of a matrix."""
    return np.frombuffer(b"".join(rows), np.float32).reshape(len(rows), -1)


def lower_bound(metric: str, dim: int) -> str:
    """Return the SQL of a row's distance to the query $3, less the rounding error where that depends on the row."""
    distance = f"(v.vector {DISTANCES[metric]} $3::vector)"
    return distance if metric != "dot" else f"({distance} - {(dim + 4) * _UNIT_ERROR!r} * vector_norm(v.vector))"


def score_beyond(metric: str, dim: int, distance: float, length: float) -> float:
    """Return an upper bound of the scores of rows at this distance or more; a query that is not l2's was normalized."""
    error = 2 * (dim + 4) * _UNIT_ERROR
    if metric == "cosine":
        return 1.0 - distance + error
    if metric == "dot":
        return length * (dim * _UNDERFLOW - distance)
    return -max(0.0, distance * distance * (1.0 - error) - dim * _UNDERFLOW)
