"""Verification on PostgreSQL: readers' answers compared with every write to a key."""

from collections.abc import Iterable

from kedge.backends.postgres.database import Database
from kedge.backends.postgres.heads import key_columns
from kedge.backends.postgres.lineages import Interner
from kedge.backends.postgres.link import Link
from kedge.backends.postgres.reads import check_epoch
from kedge.backends.postgres.sql import queries
from kedge.backends.postgres.states import States
from kedge.model.lineage import Lineage
from kedge.model.states import RowClass
from kedge.model.verification import KeyCheck, Seen, compare, keys_in, spread, true_head
from kedge.model.visibility import View
from kedge.model.writes import Head, Key

_SQL = queries("verification")
_JOURNAL = queries("journal")


class PostgresVerification:
    """The `Verification` port of one PostgreSQL database."""

    def __init__(self, database: Database, interner: Interner, states: States) -> None:
        self._database = database
        self._interner = interner
        self._states = states

    def true_head(self, view: View, key: Key) -> Head | None:
        """Return a key's head, computed from all writes to it."""
        return true_head(view, key, self._database.ask(_SQL["true_writes"], key.store, key.space, key.name))

    def check_keys(self, view: View, keys: Iterable[Key]) -> list[KeyCheck]:
        """Return what readers get at each key, and the truth, from one snapshot."""
        asked = list(keys)

        def look(link: Link) -> list[KeyCheck]:
            check_epoch(link.send(_JOURNAL["epoch"]), view)
            found = self._newest(link, view, "heads_of_keys", asked)
            truths = self._true_seqs(link, view, asked)
            return compare(asked, map(found.get, range(len(asked))), truths)

        return self._database.read(look)

    def _true_seqs(self, link: Link, view: View, keys: list[Key]) -> list[int | None]:
        found = self._newest(link, view, "newest_writes", keys)
        return [found[number][0] if number in found else None for number in range(len(keys))]

    def _newest(self, link: Link, view: View, statement: str, keys: list[Key]) -> dict[int, Seen]:
        """Return the seq and lineage of each key's newest visible row, by the key's position."""
        best: dict[int, tuple[int, int, Lineage]] = {}
        for number, lineage, rank, seq in link.rows(_SQL[statement], *key_columns(keys)):
            members = self._interner.members(link, lineage)
            if view.sees(members) and (number not in best or (rank, seq) > best[number][:2]):
                best[number] = (rank, seq, members)
        return {number: (seq, members) for number, (_, seq, members) in best.items()}

    def sample_keys(self, stores: Iterable[str], count: int) -> list[Key]:
        """Return up to `count` keys of these stores, each once, spread evenly over the journal."""

        def look(link: Link) -> list[Key]:
            last = link.one(_SQL["last_write"])[0]
            near = [link.send(_SQL["key_near"], seq) for seq in spread(last, count)]
            return keys_in([row for cursor in near for row in cursor.fetchall()], stores)

        return self._database.read(look)

    def vector_agreement(self, view: View, count: int) -> tuple[int, int]:
        """Compare whether about `count` vector rows are searchable and should be: (rows that agree, rows compared)."""

        def look(link: Link) -> tuple[int, int]:
            extents = [row for row in link.rows(_SQL["row_extents"]) if row[1] is not None]
            share = max(1, count // max(1, len(extents)))
            near = [
                link.send(_SQL["row_near"], embedding, seq)
                for embedding, first, last in extents
                for seq in spread(last, share, after=first - 1)
            ]
            rows = list({row[0]: row for cursor in near for row in cursor.fetchall()}.values())
            classes = self._states.classes(link, view, [ident for _, ident, _, _ in rows])
            keys = [Key("vectors", space, name) for _, _, name, space in rows]
            there = self._newest(link, view, "heads_of_keys", keys)  # these decide what a contested row is
            truths = self._true_seqs(link, view, keys)
            agree = 0
            for number, ((seq, ident, _, _), truth) in enumerate(zip(rows, truths, strict=True)):
                is_head = classes[ident] is RowClass.HEAD
                if classes[ident] is RowClass.CONTESTED:
                    is_head = number in there and there[number][0] == seq
                agree += is_head == (truth == seq)
            return agree, len(rows)

        return self._database.read(look)
