"""Heads as an append finds and leaves them, and keys as columns of parameters."""

from collections.abc import Sequence

import msgspec

from kedge.model.writes import Key


class Standing(msgspec.Struct, gc=False):
    """A head at a key: the newest write of one lineage."""

    lineage: int
    rank: int
    seq: int
    deleted: bool
    state: int


def columns(keys: Sequence[Key]) -> tuple[list[str], ...]:
    """Return the stores, spaces and names of keys: three parameters of one statement."""
    return [key.store for key in keys], [key.space for key in keys], [key.name for key in keys]
