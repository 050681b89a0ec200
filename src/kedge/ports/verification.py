"""Verification: what readers get, compared with what every write to a key says they should get."""

from collections.abc import Iterable
from typing import Protocol

from kedge.model.verification import KeyCheck
from kedge.model.visibility import View
from kedge.model.writes import Head, Key


class Verification(Protocol):
    """Questions of `verify` after a rollback, and of tests.

    Laws:

    - Read-only. A call may be repeated at any time.
    - Truth is computed from all writes to a key. It uses no cache and no index of heads, and costs as many rows.
    - Snapshot: `check_keys`, and each row in `vector_agreement`, take the readers' answer and the truth from one
      snapshot, so that concurrent writers cause no false alarm.
    - Epoch: `check_keys` raises `EpochMoved` if the control record has left the view's epoch. Its views have no `upto`.
      `vector_agreement` uses one view for both sides and needs no check.
    - Samples are spread evenly over the journal and are deterministic: the same journal gives the same sample.
    """

    def true_head(self, view: View, key: Key) -> Head | None:
        """Return a key's head, a delete included, computed from all writes to it. `upto` bounds it; no epoch check."""

    def check_keys(self, view: View, keys: Iterable[Key]) -> list[KeyCheck]:
        """Return what readers get at each key, and the truth, in the order of the keys."""

    def sample_keys(self, stores: Iterable[str], count: int) -> list[Key]:
        """Return up to `count` keys of these stores, each once."""

    def vector_agreement(self, view: View, count: int) -> tuple[int, int]:
        """Compare whether about `count` vector rows are searchable and should be: (rows that agree, rows compared)."""
