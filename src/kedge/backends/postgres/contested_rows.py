"""Vector rows in contested states: the heads of their keys tell what they are in a view."""

from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import Reader
from kedge.backends.postgres.sql import queries
from kedge.model.lineage import Lineage
from kedge.model.states import RowClass, hides_always
from kedge.model.visibility import View
from kedge.model.writes import Head
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

    def classes(
        self,
        link: Link,
        view: View,
        collection: Collection,
        rows: list[tuple[int, str, int, int]],
        heads: dict[str, Head],
    ) -> dict[int, RowClass]:
        """Return the class in a view of each of these contested rows (seq, name, rank, lineage), by seq.

        `heads` are heads of the view by name, without payloads; those of the rows' names are added.
        """
        names = sorted({name for _, name, _, _ in rows})
        settled = self._settled_heads(link, view, collection, names)
        missing = [name for name in names if name not in heads]
        if missing:
            heads |= self._reader.heads_in(link, view, "vectors", collection.name, missing, payloads=False)
        self._interner.load(link, {lineage for *_, lineage in rows})
        classes = {}
        for seq, name, rank, lineage in rows:
            classes[seq], own = RowClass.HEAD, self._interner.members(link, lineage)
            if name in heads and (heads[name].rank, heads[name].seq) > (rank, seq):
                above = (by for *place, by in settled.get(name, ()) if place > [rank, seq])
                is_dead = any(hides_always(by, own, view.settled) for by in above)
                classes[seq] = RowClass.DEAD if is_dead else RowClass.SUPERSEDED
        return classes

    def _settled_heads(
        self, link: Link, view: View, collection: Collection, names: list[str]
    ) -> dict[str, list[tuple[int, int, Lineage]]]:
        """Return (rank, seq, lineage) of the visible heads at these names whose lineages have settled members.

        These alone can supersede a contested row wherever it is seen.
        """
        space = self._interner.space(link, "vectors", collection.name)
        lineages = [] if space is None else self._reader.lineages_at(link, space, names)
        self._interner.load(link, lineages)
        members = {lineage: self._interner.members(link, lineage) for lineage in lineages}
        chosen = [ident for ident, own in members.items() if not own.isdisjoint(view.settled) and view.sees(own)]
        found: dict[str, list[tuple[int, int, Lineage]]] = {}
        for name, rank, seq, lineage in link.rows(_SQL["heads_of_lineages"], space, names, chosen) if chosen else ():
            found.setdefault(name, []).append((rank, seq, members[lineage]))
        return found
