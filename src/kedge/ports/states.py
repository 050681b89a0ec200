"""Collection of states: rows of the table of states that no row of the journal's indexes is in any more."""

from typing import Protocol


class StateCollector(Protocol):
    """Deletes states that no head and no vector row is in; see `kedge.model.states`.

    Laws:

    - A state goes in two calls: the first retires it, so that no row enters it any more, a later one deletes it once no
      row is in it. So a process that still knows its id reads nothing wrong, and writes none of it.
    - The three states that each lineage has are never collected.
    - No answer changes. Writers wait for a short transaction at most.
    """

    def collect(self) -> int:
        """Delete the retired states that no row is in, and retire unused ones; return how many were deleted."""
