"""Turns of the oracle: their pins, their reads, the lineage of their writes, and when they must stop."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from kedge.testing.oracle.history import NOBODY, Names, Refused, Write
from kedge.testing.oracle.oracle import Oracle, View
from kedge.testing.oracle.ranking import Ranked, VectorValue, search

Origin = Literal["source", "derived"]


class OracleTurn:
    """One unit of an agent's or a person's work.

    `read` is the union of the lineages of all that it has read, and the only thing that a stamp is made of.
    """

    def __init__(
        self,
        oracle: Oracle,
        view: View,
        *,
        session: str | None = None,
        agent: str | None = None,
        person: str | None = None,
        caller: "OracleTurn | None" = None,
    ) -> None:
        self.oracle, self.view, self.session, self.agent, self.person = oracle, view, session, agent, person
        if caller is not None:  # it sees what its caller sees, and the strangers that came since
            world = oracle.world()
            self.view = View(caller.view.base | (world.externals & world.standing))
        self.used = False  # whether it has read or written, or taken part in what another turn did
        self.given: Names = NOBODY
        if caller is not None:
            self.given = caller.read
            caller.used = True
        self._begin()

    def _begin(self) -> None:
        """Read what a turn reads as it begins."""
        oracle, agent = self.oracle, self.agent
        self.settled_at_start = oracle.world().settled
        self.read = self.given
        if agent is not None:
            self._read(oracle.heads(self.view, "artifacts", "", prefix=f"{agent}/").values())
            world = oracle.world()
            imposing = (world.by_view & oracle.seen(self.view)) - world.settled
            self.read |= imposing  # also where newer ones have replaced their artifacts
            names = frozenset[str]().union(*(world.artifacts[name] for name in imposing))
            heads = oracle.heads(self.view, "artifacts", "")
            self._read(head for name, head in heads.items() if name in names)

    # ------------------------------------------------------------ whether it may go on

    @property
    def lineage(self) -> Names:
        """The lineage that a derived write would get now: the union of all reads, without settled deployments."""
        return self.read - self.oracle.world().settled

    def check(self) -> None:
        """Refuse if the turn must stop; every operation calls this first."""
        world = self.oracle.world()
        influence = self.read & world.taken_back
        if influence:
            raise Refused("RolledBack", f"influenced by {sorted(influence)}")
        unseen = world.settled - self.settled_at_start - self.view.base
        if unseen and self.used:
            raise Refused("SettledMeanwhile", f"did not see {sorted(unseen)}")
        if unseen:
            self._begin()  # it has read nothing: it may as well begin now
        self.used = True

    def _read(self, heads: Iterable[Write]) -> None:
        self.read = self.read.union(*(head.lineage for head in heads))

    # ------------------------------------------------------------ reads

    def head(self, store: str, space: str, name: str) -> Write | None:
        """Read one key: its newest visible write, which may be a delete."""
        self.check()
        head = self.oracle.heads(self.view, store, space).get(name)
        self._read([head] if head else [])
        return head

    def get(self, store: str, space: str, name: str) -> Write | None:
        """Read one key: its value's write, None where it is absent."""
        head = self.head(store, space, name)
        return head if self.oracle.is_present(self.view, head) else None

    def items(self, store: str, space: str, prefix: str = "") -> dict[str, Write]:
        """Read a range: its present heads. Its tombstones are read as well."""
        self.check()
        self._read(self.oracle.heads(self.view, store, space, prefix).values())
        return self.oracle.present(self.view, store, space, prefix)

    def range(
        self, store: str, space: str, prefix: str, *, after: str | None, limit: int | None, reverse: bool
    ) -> list[Write]:
        """Read a range name by name, in order, until `limit` values are found; nothing beyond them."""
        self.check()
        heads, found = self.oracle.heads(self.view, store, space, prefix), list[Write]()
        for name in sorted(heads, reverse=reverse):
            if after is not None and (name >= after if reverse else name <= after):
                continue
            if limit is not None and len(found) == limit:
                break
            self._read([heads[name]])
            found += [heads[name]] if self.oracle.is_present(self.view, heads[name]) else []
        return found

    def delete_below(self, store: str, space: str, prefix: str, seqs: Sequence[int]) -> list[Write]:
        """Delete all values below a prefix, which reads the range; they get these seqs."""
        names = sorted(self.items(store, space, prefix))
        return [self.delete(store, space, name, seq=seq) for name, seq in zip(names, seqs, strict=True)]

    def history(self, limit: int | None = None) -> list[Write]:
        """Read the newest `limit` messages of the session, oldest first, and the tombstones among them."""
        self.check()
        assert self.session is not None
        heads = list(self.oracle.heads(self.view, "memory", self.session).values())
        messages = [head for head in heads if not head.deleted]
        if limit is not None and limit <= len(messages):  # what is older than the last of them changes nothing
            messages = messages[len(messages) - limit :]
            heads = heads[heads.index(messages[0]) :]
        self._read(heads)
        return messages

    def vector_rows(self, collection: str, ids: Iterable[str]) -> dict[str, Write]:
        """Read vectors by id: those present."""
        self.check()
        self.read_embedder(collection)
        heads = self.oracle.heads(self.view, "vectors", collection)
        asked = {name: heads[name] for name in ids if name in heads}
        self._read(asked.values())
        return {name: head for name, head in asked.items() if not head.deleted}

    def count(self, store: str, space: str, prefix: str = "") -> int:
        """Read how many keys of a range are present."""
        self.check()
        if store == "vectors":
            self.read_embedder(space)
        return len(self.items(store, space, prefix))

    def search(
        self,
        collection: str,
        vector: Sequence[float],
        k: int,
        where: Any = None,
        *,
        hits: Sequence[str] | None = None,
        lineage: Names | None = None,
    ) -> Ranked:
        """Search; by the index, `hits` and `lineage` are Kedge's results: only these tell which of ties it chose."""
        self.check()
        ranked = search(self.oracle, self.view, collection, vector, k, where)
        self.read |= ranked.lineage(ranked.ids if hits is None else hits, lineage)
        return ranked

    def call(self, agent: str) -> "OracleTurn":
        """Begin a child turn, also where a settle has ended this one: it sees what is settled by now."""
        child = OracleTurn(self.oracle, self.view, session=self.session, agent=agent, caller=self)
        child.check()
        child.used = False
        return child

    def absorb(self, callee: "OracleTurn", *, as_child: bool = False) -> None:
        """Absorb the reads of a callee; unsigned peers that it heard are seen from now on.

        A child turn may also be absorbed where a settle has ended this one.
        """
        world = self.oracle.world()
        if not as_child:
            self.check()
        elif self.read & world.taken_back:
            raise Refused("RolledBack", f"influenced by {sorted(self.read & world.taken_back)}")
        self.used = True
        base = self.view.base | (callee.read & world.externals)
        unseen = callee.read - base - world.settled - world.taken_back
        if unseen:
            raise Refused("NotSeen", f"does not see {sorted(unseen)}")
        self.read |= callee.read
        self.view = View(base)
        if self.read & world.taken_back:
            raise Refused("RolledBack", f"influenced by {sorted(self.read & world.taken_back)}")

    def hear(self, peer: str) -> None:
        """Absorb unsigned headers of a peer: it counts as a deployment of its own, which the turn now sees."""
        self.check()
        self.believe(peer)
        self.check()

    def believe(self, peer: str) -> None:
        """Record the influence of a peer whose unsigned headers began the turn."""
        stranger = self.oracle.external(peer)
        self.given |= {stranger}
        self.read |= {stranger}
        self.view = View(self.view.base | {stranger})

    def read_embedder(self, collection: str) -> Any:
        """Read the embedder of a collection, and return it."""
        head = self.oracle.heads(self.view, "artifacts", "").get(self.oracle.embedders[collection])
        self._read([head] if head else [])
        return head.value if head else None

    # ------------------------------------------------------------ writes

    def put(
        self,
        store: str,
        space: str,
        name: str,
        value: Any,
        *,
        expect: int | None = None,
        origin: Origin | None = None,
        idempotency: str | None = None,
        seq: int | None = None,
        short_lived: bool = False,
    ) -> Write:
        """Put a value: blind, or as a compare-and-set against the newest head that the turn sees."""
        self.compare(store, space, name, expect)
        usual: Origin = "source" if store == "documents" else "derived"
        chosen = self._origin(origin, usual)
        done = [w for w in self.oracle.visible(self.view) if idempotency is not None and w.idempotency == idempotency]
        if done:  # it was done before, and the turn learns so: that is a read
            self._read(done[-1:])
            before = (done[-1].store, done[-1].space, done[-1].name, done[-1].value, done[-1].origin)
            if before != (store, space, name, value, chosen):
                raise Refused("IdempotencyMismatch", f"{idempotency} was {done[-1]}")
            return done[-1]
        return self._write(store, space, name, value, chosen, seq, idempotency=idempotency, short_lived=short_lived)

    def delete(
        self,
        store: str,
        space: str,
        name: str,
        *,
        expect: int | None = None,
        origin: Origin | None = None,
        seq: int | None = None,
    ) -> Write:
        """Delete a key, as blind as a put."""
        self.compare(store, space, name, expect)
        if store == "vectors":
            self.read_embedder(space)
        return self._write(store, space, name, None, self._origin(origin, "derived"), seq, deleted=True)

    def append(
        self,
        role: str,
        content: Any,
        *,
        expect: int | None = None,
        origin: Origin | None = None,
        seq: int | None = None,
    ) -> Write:
        """Append a message to the session's memory, blind or after the newest one: a user's words are source."""
        self.check()
        assert self.session is not None
        if expect is not None:
            self._expect_newest(expect)
        usual: Origin = "source" if role == "user" else "derived"
        name = str(len(self.oracle.history))
        return self._write("memory", self.session, name, (role, content), self._origin(origin, usual), seq)

    def forget(self, message: int, *, origin: Origin | None = None, seq: int | None = None) -> Write:
        """Delete a visible message by its seq, which reads it."""
        self.check()
        assert self.session is not None
        heads = self.oracle.heads(self.view, "memory", self.session)
        written = [w for w in self.oracle.visible(self.view) if w.store == "memory" and w.seq == message]
        is_first = bool(written) and not written[0].deleted and written[0].name == str(written[0].position)
        head = heads.get(written[0].name) if written else None
        self._read(heads.values() if not is_first else [head] if head else [])  # else it is looked for in the history
        if head is None or head.deleted or head.seq != message:
            raise Refused("InvalidValue", f"no message {message}")
        return self._write("memory", self.session, head.name, None, self._origin(origin, "derived"), seq, deleted=True)

    def replace(
        self,
        after: int,
        messages: Sequence[tuple[str, Any]],
        *,
        expect: int | None = None,
        origin: Origin | None = None,
        seqs: Sequence[int | None] | None = None,
    ) -> list[Write]:
        """Delete the visible messages after one (0: all), and append others: a read of the whole history."""
        standing = self.history()
        if after and after not in [message.seq for message in standing]:
            raise Refused("InvalidValue", f"no message {after}")
        if expect is not None:
            self._expect_newest(expect)
        kept = [message.seq for message in standing].index(after) + 1 if after else 0
        assert self.session is not None
        for message in standing[kept:]:
            self._write("memory", self.session, message.name, None, self._origin(origin, "derived"), None, deleted=True)
        given = seqs or [None] * len(messages)
        return [
            self.append(role, content, origin=origin, seq=seq)
            for (role, content), seq in zip(messages, given, strict=True)
        ]

    def _expect_newest(self, expect: int) -> None:
        newest = self.history(1)
        found = newest[0].seq if newest else 0
        if found != expect:
            raise Refused("ExpectationFailed", f"the newest message is {found}")

    def upsert(
        self,
        collection: str,
        rows: Mapping[str, tuple[tuple[float, ...], Any]],
        *,
        origin: Origin | None = None,
        seqs: Sequence[int | None] | None = None,
    ) -> list[Write]:
        """Put vectors (id → vector and payload) into the space of the embedder that the turn sees."""
        self.check()
        embedder = self.read_embedder(collection)
        given = seqs or [None] * len(rows)
        chosen = self._origin(origin, "derived")
        return [
            self._write("vectors", collection, name, VectorValue(vector, payload, embedder), chosen, seq)
            for (name, (vector, payload)), seq in zip(rows.items(), given, strict=True)
        ]

    def _origin(self, asked: Origin | None, usual: Origin) -> Origin:
        return asked or ("source" if self.person is not None else usual)

    def compare(self, store: str, space: str, name: str, expect: int | None) -> None:
        """Read the head that a compare-and-set expects; refuse another one."""
        self.check()
        if expect is None:
            return
        head = self.get(store, space, name)
        if (head.seq if head else 0) != expect:
            raise Refused("ExpectationFailed", f"{name} is at {head.seq if head else 0}")

    def _write(
        self,
        store: str,
        space: str,
        name: str,
        value: Any,
        origin: Origin,
        seq: int | None,
        *,
        deleted: bool = False,
        idempotency: str | None = None,
        short_lived: bool = False,
    ) -> Write:
        return self.oracle.write(
            store,
            space,
            name,
            value,
            lineage=NOBODY if origin == "source" else self.lineage,
            deleted=deleted,
            origin=origin,
            provenance=self.lineage,
            seq=seq,
            idempotency=idempotency,
            short_lived=short_lived,
        )
