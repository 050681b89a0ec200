"""Vector groups: the vector writes of a batch, as an engine stores them."""

from collections.abc import Sequence

import msgspec

from kedge.model.writes import Batch, Row, VectorBatch

_Place = tuple[str, str | None, int]  # a collection, and an embedding space with its dimension


class VectorGroup(msgspec.Struct, frozen=True):
    """Writes to one collection, at most one a key: puts into one embedding space, or deletes, without vectors."""

    rows: Sequence[Row]
    vectors: VectorBatch | None

    @property
    def collection(self) -> str:
        """The collection that they are to."""
        return self.rows[0].key.space


def vector_groups(batch: Batch, rows: Sequence[Row]) -> list[VectorGroup]:
    """Return the vector writes of a batch in groups, to be stored one after another.

    Of two writes to one key, the later is in a later group, so that it supersedes the earlier. There are as few groups
    as that allows: each costs a wait for the disk.
    """
    if not any(row.key.store == "vectors" for row in rows):
        return []
    if _is_one_call(batch, rows):
        return [VectorGroup(rows, batch.vectors[0] if batch.vectors else None)]
    placed = {vectors.first + place: vectors for vectors in batch.vectors for place in range(vectors.count)}
    rounds: list[dict[_Place, list[tuple[Row, bytes]]]] = [{}]
    names: set[tuple[str, str]] = set()
    for place, (row, vector) in enumerate(zip(rows, batch.vector_rows(), strict=True)):
        if row.key.store != "vectors":
            continue
        key = (row.key.space, row.key.name)
        if key in names:
            rounds.append({})
            names.clear()
        names.add(key)
        where = placed.get(place)
        kind = (row.key.space, *((None, 0) if where is None else (where.space, where.dim)))
        rounds[-1].setdefault(kind, []).append((row, vector))
    return [_group(kind, members) for found in rounds for kind, members in found.items()]


def _group(kind: "_Place", members: list[tuple[Row, bytes]]) -> VectorGroup:
    _, space, dim = kind
    vectors = None if space is None else VectorBatch(space, dim, b"".join(vector for _, vector in members))
    return VectorGroup([row for row, _ in members], vectors)


def _is_one_call(batch: Batch, rows: Sequence[Row]) -> bool:
    """Return whether a batch is one call: to one collection, all puts or all deletes, each key once."""
    first = rows[0].key
    return (
        (not batch.vectors or (len(batch.vectors) == 1 and batch.vectors[0].count == len(rows)))
        and all(row.key.store == first.store and row.key.space == first.space for row in rows)
        and len({row.key.name for row in rows}) == len(rows)
    )
