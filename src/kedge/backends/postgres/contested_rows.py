"""Vector rows in contested states: the heads of their keys tell what they are in a view."""

from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import Reader
from kedge.backends.postgres.sql import queries
from kedge.model.states import RowClass
from kedge.model.visibility import View
from kedge.ports.vectors import Collection

_SQL = queries("vectors")


class ContestedRows:
    """Resolves contested rows in present views."""

    def __init__(self, interner: Interner, reader: Reader) -> None:
        self._interner = interner
        self._reader = reader

    def newer(
        self, link: Link, view: View, collection: Collection, seqs: list[int], *, of_all: bool = False
    ) -> list[tuple[int, int, bool, list[int]]]:
        """Return (seq, lineage, is superseded, lineages of newer heads) of contested rows in a view.

        The lineages are those with settled members, which alone can supersede a contested row wherever it is seen;
        with `of_all`, they are all that the view sees.
        """
        members = self._interner.members
        visible = self._reader.lineages_in(link, view, "vectors", collection.name)
        listed = visible if of_all else [some for some in visible if not members(link, some).isdisjoint(view.settled)]
        return link.rows(_SQL["contested_rows"], seqs, visible, listed)

    def classes(self, link: Link, view: View, collection: Collection, seqs: list[int]) -> dict[int, RowClass]:
        """Return the class of each of these contested rows in a view."""
        classes = {}
        for seq, lineage, is_superseded, settled in self.newer(link, view, collection, seqs):
            everywhere = self._interner.members(link, lineage) | view.settled
            is_dead = any(self._interner.members(link, above) <= everywhere for above in settled)
            superseded = RowClass.DEAD if is_dead else RowClass.SUPERSEDED
            classes[seq] = superseded if is_superseded else RowClass.HEAD
        return classes
