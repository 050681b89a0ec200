"""A turn: pins what it sees, collects lineage from what it reads, stamps what it writes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from kedge.errors import (
    Frozen,
    IdempotencyMismatch,
    InvalidValue,
    KedgeError,
    RolledBack,
    SyncNeeded,
    TurnClosed,
)
from kedge.model import envelope as envelopes
from kedge.model.checks import check_name, check_origin, check_seconds
from kedge.model.control import Level, stricter
from kedge.model.envelope import Envelope
from kedge.model.lineage import Lineage
from kedge.model.negotiation import OWN, Rule, digest
from kedge.model.reads import RangeRead, ReadLog
from kedge.model.repeats import Call
from kedge.model.turns import move
from kedge.model.visibility import View
from kedge.model.writes import Author, Batch, Head, Key, Origin, Pending, VectorBatch, encode
from kedge.ports.control import EpochMoved
from kedge.ports.journal import Appended
from kedge.ports.metrics import Sample
from kedge.stores.artifacts import Artifacts
from kedge.stores.cache import Cache
from kedge.stores.keyed import Context, Documents
from kedge.stores.memory import Memory
from kedge.stores.search import SearchesSeveral
from kedge.stores.vectors import Vectors
from kedge.turns import code_check, messages
from kedge.turns.artifact_cache import NO_ARTIFACTS
from kedge.turns.begin import Beginning, Opened, begin, open_headers, own_artifacts
from kedge.turns.kernel import Kernel
from kedge.turns.messages import Incoming

T = TypeVar("T")
HEADER_SECONDS = 300.0


class Replays(msgspec.Struct, frozen=True):
    """The input that a turn replays: its rank and seq, and the last hidden turn that it makes good."""

    rank: int
    seq: int
    upto_turn: int


class Turn(SearchesSeveral):
    """One unit of an agent's, or a person's, work. Use it as a context manager, in one thread.

    Its calls commit one by one: a turn is not a transaction. Once a deployment that influenced it is rolled back,
    every operation raises `RolledBack`; once one that it did not see is settled, `SettledMeanwhile`.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        session: str | None = None,
        agent: str | None = None,
        person: str | None = None,
        deployment: str | None = None,
        parent: Mapping[str, str] | None = None,
        peer: str | None = None,
        replays: Replays | None = None,
        base: frozenset[int] | None = None,
    ) -> None:
        """Begin it. `replays` and `base` (the deployments that its view is fixed to) are for Kedge's own."""
        if agent is not None and person is not None:
            raise InvalidValue(f"a turn is an agent's ({agent!r}) or a person's ({person!r}), not both; leave one out")
        for what, name in (("session", session), ("agent", agent), ("person", person), ("peer", peer)):
            if name is not None:
                check_name(f"the {what}", name)
        if kernel.membership is not None:
            kernel.membership.check()
        self._kernel = kernel
        self.backend = kernel.backend
        self._agent, self._person = agent, person
        self._rank = None if replays is None else replays.rank
        self._replay_turn = 0 if replays is None else replays.upto_turn
        self._writes = 0
        self._last_seq = 0
        self._closed = False
        self._ended: KedgeError | None = None
        self._reads = ReadLog()
        self._asks: str | None = None
        if base is not None:
            began = Beginning(self.backend.control.load(), session, base)
        else:
            began = begin(kernel, session, deployment, None if parent is None else self._opened(parent, peer))
        self._record, self._session, self._sender = began.record, began.session, began.sender
        self._reads.members.update(began.influences)
        self._base = began.base | self._record.externals
        self._view = View(
            self._record.epoch, self._record.seen_by(self._base), self._record.settled, upto_rank=self._rank
        )
        now = self.backend.clock.now()
        self._author = Author(
            uid=self.backend.clock.fresh_id(),
            agent=agent,
            person=person,
            session=self._session,
            parent=began.parent,
            replays=None if replays is None else replays.seq,
            began_at=now,
            began_epoch=self._record.epoch,
        )
        self.artifacts = Artifacts(self)
        self.memory = Memory(self)
        self.context = Context(self, "context", "")
        self.cache = Cache(self)
        if began.influences:  # a caller's: it may have been rolled back before this turn began
            self._take()
        self._own = NO_ARTIFACTS
        if agent is not None:
            self._own = own_artifacts(kernel, self, self._view, agent)
            self.saw_range(self._own.read, self._own.lineages)
            code_check.check(kernel, self, agent, self._own.heads)

    # ── what the stores use ──

    def read(self, look: Callable[[View], T]) -> T:
        """Call `look` with the view, again with a newer one while the control record moves under it."""
        while True:
            if self._closed or self._ended is not None:
                self._refuse()
            if self._kernel.membership is not None:
                self._kernel.membership.check()
            try:
                return look(self._view)
            except EpochMoved:
                self._catch_up()

    def _refuse(self) -> None:
        if self._ended is not None:
            raise self._ended
        raise TurnClosed(f"this turn ({self._author.uid}) is closed; begin another with k.turn()")

    def _catch_up(self) -> None:
        self._record = self.backend.control.load()
        try:
            influences = frozenset(self._reads.members)
            self._view = move(self._view, self._base, influences, self._record, self._kernel.names)
        except KedgeError as error:
            self._ended = error
            raise

    def saw(self, heads: Iterable[Head]) -> None:
        """Take note of writes whose value, or whose delete, was read."""
        self._reads.saw(heads)

    def saw_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Take note of a range that was read, and of the lineages of all heads in it."""
        self._reads.saw_range(read, lineages)

    def met(self, key: Key, seq: int, lineage: Lineage) -> None:
        """Remember the put that was last known as a key's head."""
        self._reads.met(key, seq, lineage)

    def compares(self, key: Key, seq: int) -> bool:
        """Say whether this is the put that was last known as a key's head: then it counts as read, and is forgotten."""
        return self._reads.compares(key, seq)

    def joined(self, lineage: Lineage) -> None:
        """Take on the lineage of something read that is not in the journal."""
        self._reads.members |= lineage

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of deployments."""
        return self._kernel.names(numbers)

    def now(self) -> float:
        """Return the time that freshness is measured against."""
        return self.backend.clock.now()

    def was_seen(self, lineage: Lineage) -> bool:
        """Say whether a write of this lineage would be visible, had nothing been rolled back."""
        return lineage <= self._base | self._record.settled

    def is_source(self, origin: str | None, default: Origin) -> bool:
        """Say whether a write is a source write: as asked for, else by whose turn this is, else by the store."""
        chosen = check_origin(origin)
        if chosen is None:
            chosen = Origin.SOURCE if self._person is not None else default
        return chosen is Origin.SOURCE

    def derive_key(self) -> bytes:
        """Return the digests of the agent's artifact heads, which are part of each cache key."""
        return encode([self._agent or ""] + [(head.payload or b"").decode() for head in self._own.heads])

    @property
    def stamp(self) -> Lineage:
        """The lineage that a write would get now, as numbers: settled deployments drop out."""
        return frozenset(self._reads.members) - self._view.settled

    def write(
        self, writes: Sequence[Pending], *, idempotency: str | None = None, vectors: VectorBatch | None = None
    ) -> list[int]:
        """Stamp these writes and commit them as one batch; return their seqs."""
        if idempotency is not None:
            check_name("the idempotency key", idempotency)
        if not writes:
            return []
        if self._rank is not None and idempotency is None:
            # A replay that is run again finds its own writes, and does not repeat them.
            idempotency = f"replay:{self._author.replays}:{self._replay_turn}:{self._writes}"
        packed = self._reads.packed()

        def append(view: View) -> Appended:
            if not all(write.source for write in writes):
                self._check_level()
            batch = Batch(
                epoch=view.epoch,
                author=self._author,
                writes=tuple(writes),
                lineage=self.stamp,
                seen=view.seen,
                settled=view.settled,
                reads=packed,
                idempotency=idempotency,
                first_wins=self._rank is not None,
                rank=self._rank,
                vectors=vectors,
            )
            return self.backend.journal.append(batch)

        try:
            done = self.read(append)
        except IdempotencyMismatch:
            if idempotency is not None:
                self._saw_call(self.backend.journal.call(self._view, idempotency))
            raise
        self._writes += 1
        is_another_s = self._saw_call(done.repeats)
        if not is_another_s and done.seqs[0] > self._last_seq:
            self._last_seq = done.seqs[-1]
            self._reads.forget()
        return done.seqs

    def _saw_call(self, call: Call | None) -> bool:
        """Take note of the call that this one repeated, if another turn made it: to learn of it is a read."""
        if call is None or call.turn == self._author.uid:
            return False
        self._reads.saw_call(call.seqs, call.lineage)
        return True

    def _check_level(self) -> None:
        level = self._record.level(self._agent or "")
        if level is not Level.FULL:
            raise Frozen(
                f"the feature {self._agent!r} stands at level {level}: derived writes are refused; "
                "answer without remembering, or wait until it is back at full"
            )

    # ── the public face ──

    @property
    def id(self) -> str:
        """The turn's name: 32 hexadecimal digits."""
        return self._author.uid

    @property
    def session(self) -> str | None:
        """The session, if there is one."""
        return self._session

    @property
    def agent(self) -> str | None:
        """The agent whose turn this is, if it is one's."""
        return self._agent

    @property
    def person(self) -> str | None:
        """The person whose turn this is, if it is one's."""
        return self._person

    @property
    def lineage(self) -> frozenset[str]:
        """The names of the revocable deployments that have influenced this turn so far."""
        return self._kernel.names(self.stamp)

    @property
    def seen(self) -> frozenset[str]:
        """The names of the revocable deployments that this turn sees."""
        return self._kernel.names(self._view.seen)

    @property
    def level(self) -> Level:
        """The level that the agent's feature stands on now.

        A member knows it without asking the store; while its lease has run out, it is the safe level at best.
        """
        membership = self._kernel.membership
        if membership is None:
            return self.read(lambda view: self._level_at(view.epoch))
        if self._closed or self._ended is not None:
            self._refuse()
        epoch, known = membership.epoch, self.backend.control.known()
        if epoch is None:
            return stricter(membership.safe_level, self._record.level(self._agent or ""))
        if epoch > self._view.epoch or (known is not None and known.epoch > self._view.epoch):
            self._catch_up()
        return self._record.level(self._agent or "")

    def _level_at(self, epoch: int) -> Level:
        if self.backend.control.epoch() != epoch:
            raise EpochMoved("the level may have changed")
        return self._record.level(self._agent or "")

    def documents(self, collection: str) -> Documents:
        """Return the documents of a collection."""
        return Documents(self, "documents", check_name("the collection", collection))

    def vectors(self, collection: str) -> Vectors:
        """Return the vectors of a declared collection, or raise `UnknownName`."""
        return Vectors(self, collection)

    def observe(self, metric: str, value: Any) -> None:
        """Store a metric sample of this session: a number, a bool or a string."""
        check_name("the metric", metric)
        if metric.startswith(OWN):
            raise InvalidValue(f"metrics that begin with {OWN!r}, such as {metric!r}, are kept for Kedge's own")
        if not isinstance(value, bool | int | float | str):
            raise InvalidValue(f"the sample {value!r} of {metric!r} is no number, bool or string")
        encode(value, f"the sample of {metric!r}")

        def store(view: View) -> None:
            self._level_at(view.epoch)
            self.backend.metrics.observe(self.sample(metric, value))

        self.read(store)

    def sample(self, metric: str, value: Any) -> Sample:
        """Return a metric sample of this turn."""
        return Sample(metric, value, self.now(), self._session, self._agent, self.stamp, self._view.seen)

    def headers(self, audience: str | None = None, ttl: float = HEADER_SECONDS) -> dict[str, str]:
        """Return signed headers for a callee (or for the caller, on the way back), good for `ttl` seconds.

        What this turn has read is journaled first. With `audience`, only that agent may use them.
        """
        return self._sealed(audience, ttl, None)

    def send(
        self, schema: str, payload: Any, audience: str | None = None, ttl: float = HEADER_SECONDS
    ) -> dict[str, str]:
        """Return headers for a message: they name the version of its schema, and hold for this payload alone."""
        self._rule(schema)
        return self._sealed(audience, ttl, digest(schema, payload))

    def receive(
        self,
        schema: str,
        payload: Any,
        headers: Mapping[str, str] | None = None,
        peer: str | None = None,
        *,
        version: int | None = None,
    ) -> Any:
        """Return a message's payload in the version that this view speaks, translated where need be.

        It came with `headers`, or with the `parent=` that this turn began with. Raises `SyncNeeded` or `SchemaRefused`.
        `version` is that of a peer which signs nothing.
        """
        if headers is not None:
            self.absorb(headers, peer)
        if self._sender is None:
            raise InvalidValue("no headers came with this message; begin the turn with parent=, or pass headers=")
        self.read(lambda view: self._level_at(view.epoch))
        try:
            message = Incoming(schema, payload, self._sender, version)
            return messages.receive(self._kernel, self._record, self, self._rule(schema), message)
        except SyncNeeded:
            self._asks = "sync"
            raise

    def _rule(self, schema: str) -> Rule:
        return messages.rule_for(self._agent, messages.rules_of(self._agent, self._own.heads), schema)

    def _sealed(self, audience: str | None, ttl: float, payload_digest: str | None) -> dict[str, str]:
        seconds = check_seconds("ttl", ttl) or HEADER_SECONDS
        if audience is not None:
            check_name("the audience", audience)
        self._edge("call", audience or "")
        rules = messages.rules_of(self._agent, self._own.heads)
        envelope = Envelope(
            turn=self._author.uid,
            epoch=self._view.epoch,
            base=sorted(self._base),
            lineage=sorted(self.stamp),
            expires=self.now() + seconds,
            session=self._session,
            audience=audience,
            agent=self._agent,
            hidden=sorted(self._base - self._view.seen - self._view.settled),
            speaks={schema: rule.version for schema, rule in rules.items()},
            digest=payload_digest,
            asks=self._asks,
        )
        return envelopes.seal(envelope, self._kernel.header_key)

    def absorb(self, headers: Mapping[str, str], peer: str | None = None) -> None:
        """Take on what has influenced a callee, from the headers it sent back."""
        self.read(lambda view: self._level_at(view.epoch))
        opened = self._opened(headers, peer)
        callee, self._sender = opened.envelope, opened.sender
        self._reads.members.update(opened.influences)
        self._record = opened.record or self.backend.control.load()
        self._base |= self._reads.members & self._record.externals
        self._take()
        self._edge("absorb", "" if callee is None else callee.turn)
        if callee is not None and callee.asks is not None:
            raise SyncNeeded(f"{callee.agent!r} asks for a fresh sync: begin a new turn, and send again")

    def _opened(self, headers: Mapping[str, str], peer: str | None) -> Opened:
        return open_headers(self._kernel, headers, peer, self._agent or self._person)

    def _take(self) -> None:
        """Catch up with what was taken on from a sender; what is rolled back of it is counted, and ends the turn."""
        try:
            self._catch_up()
        except RolledBack:
            messages.turn_away(self._kernel, self._record, self, self._sender)
            raise

    def _edge(self, kind: str, peer: str) -> None:
        packed = self._reads.packed()

        def record(view: View) -> None:
            self._level_at(view.epoch)
            self.backend.journal.record_edge(kind, self._author, peer, self.stamp, packed)

        self.read(record)
        self._reads.forget()

    def close(self) -> None:
        """End the turn; every later operation raises `TurnClosed`."""
        self._closed = True

    def __enter__(self) -> Self:
        """Return the turn itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the turn."""
        self.close()
