"""A write on its way into the journal, as the tables beside it must know it."""

import msgspec

from kedge.model.writes import Key


class Row(msgspec.Struct, frozen=True, gc=False):
    """A journal row: its place, and what supersedes what."""

    seq: int
    space: int
    key: Key
    lineage: int
    rank: int
    deleted: bool
    is_new: bool = False  # its key was made for it, so nothing else was ever written to it


class Standing(msgspec.Struct, gc=False):
    """A head at a key: the newest write of one lineage."""

    lineage: int
    rank: int
    seq: int
    deleted: bool
    state: int
