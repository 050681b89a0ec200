"""A head at a key, as an append finds it and leaves it."""

import msgspec


class Standing(msgspec.Struct, gc=False):
    """A head at a key: the newest write of one lineage."""

    lineage: int
    rank: int
    seq: int
    deleted: bool
    state: int
