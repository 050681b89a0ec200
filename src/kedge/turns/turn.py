"""A turn: one unit of an agent's, or a person's, work."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from msgspec.structs import replace

from kedge.errors import InvalidValue, RolledBack, SyncNeeded
from kedge.model import envelope as envelopes
from kedge.model import rights
from kedge.model.checks import check_name, check_seconds
from kedge.model.choices import RefreshPolicy, SettlePolicy
from kedge.model.control import Level
from kedge.model.envelope import Envelope
from kedge.model.negotiation import Rule, digest
from kedge.model.peers import check_peer
from kedge.model.rights import Act, Reversibility, Verdict
from kedge.model.session_settings import check_asked
from kedge.model.turns import check_seen
from kedge.model.visibility import View
from kedge.stores.artifacts import Artifacts
from kedge.stores.cache import Cache
from kedge.stores.keyed import Context, Documents
from kedge.stores.memory import Memory
from kedge.stores.own import Store
from kedge.stores.search import SearchingMany
from kedge.stores.vectors import Vectors
from kedge.support.display import brief
from kedge.turns import approvals, children, code_check, current, hosts, messages, observing
from kedge.turns.batch import WriteBatch
from kedge.turns.begin import TurnStart, begin, open_headers
from kedge.turns.kernel import Kernel
from kedge.turns.messages import Incoming, Sender
from kedge.turns.permits import Permit, refused
from kedge.turns.replaying import Replays
from kedge.turns.scope import TurnScope, scope_of
from kedge.turns.view import ReadView

HEADER_SECONDS = 300.0


class Turn(SearchingMany):
    """One unit of an agent's, or a person's, work. Use it as a context manager; threads and tasks may share it.

    Each call commits by itself, except inside `batch()`: a turn is not a transaction. Once a deployment that influenced
    it is rolled back, every operation raises `RolledBack`; once one that it did not see is settled, `SettledMeanwhile`,
    unless the turn has read and written nothing yet, or began with `on_settle="continue"`.
    """

    _scope: TurnScope

    def __init__(
        self,
        kernel: Kernel,
        *,
        session: str | None = None,
        agent: str | None = None,
        person: str | None = None,
        deployment: str | None = None,
        parent: "Turn | Mapping[str, str] | None" = None,
        peer: str | None = None,
        refresh: RefreshPolicy | None = None,
        unit_id: str | None = None,
        on_settle: SettlePolicy | None = None,
        replays: Replays | None = None,
        base: frozenset[int] | None = None,
        is_own: bool = False,
    ) -> None:
        """Begin it.

        `replays`, `base` (the deployments that its view is fixed to) and `is_own` are internal: the last says that
        Kedge itself chose the agent's name, or takes it from an earlier turn, so that it cannot have a slip.
        """
        _check_names(session, agent, person, peer)
        has_session = (parent.session if isinstance(parent, Turn) else parent or session) is not None
        asked = check_asked(has_session, refresh, unit_id)
        if kernel.membership is not None:
            kernel.membership.check()
        self._kernel = kernel
        self._asks: str | None = None
        caller, headers = (scope_of(parent), None) if isinstance(parent, Turn) else (None, parent)
        if caller is not None:
            children.check_caller(kernel, caller, asked, session=session, deployment=deployment, peer=peer)
            start = children.start(kernel, caller, agent or person or "")
        elif base is not None:
            start = TurnStart(kernel.backend.control.load(), session, base)
        else:
            opened = None if headers is None else open_headers(kernel, headers, peer, agent or person)
            start = begin(kernel, session, deployment, opened, asked, keeps_ended=replays is not None)
        start = replace(start, continues=_continues(on_settle, start))
        self._sender = start.sender
        self._scope = scope = TurnScope(kernel, start, agent=agent, person=person, replays=replays or start.replays)
        self.artifacts = Artifacts(scope)
        self.memory = Memory(scope)
        self.context = Context(scope, "context", "")
        self.cache = Cache(scope)
        if caller is not None:
            children.join_caller(scope, caller)
        elif start.lineage:  # the caller's: it may have been rolled back before this turn began
            self._catch_up_with(start.sender)
            check_seen(start.lineage, scope.base, scope.record, kernel.names)
        for turn in start.others:
            scope.record_edge("absorb", turn)
        if agent is not None:
            own = scope.pin_artifacts(agent)
            if not scope.imposed.heads and not is_own:  # else deployments influence it whatever its name
                kernel.name_check.check(kernel.backend, agent, own, scope.view.epoch)
            code_check.check(kernel, scope, agent, own.heads)
        scope.begun()
        current.begin(self, kernel)
        kernel.open_turns.add(self)
        hosts.began(self)

    @property
    def id(self) -> str:
        """The turn's id: 32 hexadecimal digits."""
        return self._scope.author.uid

    @property
    def url(self) -> str:
        """The address of the database."""
        return self._kernel.backend.url

    @property
    def session(self) -> str | None:
        """The session, or None."""
        return self._scope.author.session

    @property
    def agent(self) -> str | None:
        """The agent whose turn this is, or None."""
        return self._scope.author.agent

    @property
    def person(self) -> str | None:
        """The person whose turn this is, or None."""
        return self._scope.author.person

    @property
    def lineage(self) -> frozenset[str]:
        """The names of the revocable deployments that have influenced this turn so far."""
        return self._scope.names(self._scope.stamp)

    @property
    def seen(self) -> frozenset[str]:
        """The names of the revocable deployments that this turn sees."""
        return self._scope.names(self._scope.view.seen)

    @property
    def level(self) -> Level:
        """The strictest level of all that concerns this turn: its agent, session, deployments, everything, this host.

        A member knows it without asking the store. While the member's lease has run out, it is at most the safe level.
        """
        return self._scope.level()

    def may(self, act: Act, *, tool: str | None = None, reversibility: Reversibility | None = None) -> bool:
        """Return whether the level permits an act: "learn", "act", "generate" or "speak".

        An effect whose reversibility is not given counts as irreversible. A member knows it without asking the store.
        """
        return rights.may(
            self._scope.level(tool),
            rights.check_act(act),
            reversibility=rights.check_reversibility(reversibility),
            presets=self._scope.record.rights,
        ).permits

    def require(
        self, act: Act, *, tool: str | None = None, reversibility: Reversibility | None = None, call: Any = None
    ) -> Permit:
        """Return a permit for an act, which a tool's wrapper holds while it acts, or raise `NotPermitted`.

        What only a person can allow raises `ApprovalNeeded`, whose request is bound to this agent, session, tool and
        `call` (the parameters, as JSON values): once it is approved, the same call gets its permit, once.
        A stream asks before each part for "speak": the permit says whether what is said must be labelled.
        """
        if tool is not None:
            check_name("the tool", tool)
        chosen, known = rights.check_act(act), rights.check_reversibility(reversibility)
        scope, level = self._scope, self._scope.level(tool)
        verdict = rights.may(level, chosen, reversibility=known, presets=scope.record.rights)
        approved_by = None
        if verdict is Verdict.APPROVED:
            seen = scope.view.seen
            approved_by = approvals.use(self._kernel, scope.author, seen, tool=tool, reversibility=known, call=call)
        elif not verdict.permits:
            if chosen == "learn":
                scope.note_refused(level)
            raise refused(scope, chosen, level, tool, known)
        return Permit(scope, chosen, level, verdict, tool=tool, reversibility=known, approved_by=approved_by)

    @property
    def is_open(self) -> bool:
        """Whether the turn has neither been closed nor ended by a rollback or a settle."""
        return self._scope.is_open

    def view(self) -> ReadView:
        """Return a read-only view of what this turn sees, whose reads count as the turn's."""
        return ReadView(self._scope)

    def documents(self, collection: str) -> Documents:
        """Return the documents of a collection."""
        return Documents(self._scope, "documents", check_name("the collection", collection))

    def store(self, name: str) -> Store:
        """Return a keyed store of your own: `turn.store("checkpoints").space("thread-1")`."""
        self._kernel.check_fence("keyed stores")
        return Store(self._scope, name)

    def batch(self, *, idempotency: str | None = None) -> WriteBatch:
        """Return a batch: the writing calls in its `with` block commit as one at its end, across stores and origins.

        Inside, they return None, and reads see none of them; `batch.seqs` holds their seqs afterwards.
        """
        return WriteBatch(self._scope, idempotency)

    def vectors(self, collection: str) -> Vectors:
        """Return the vectors of a declared collection, or raise `UnknownName`."""
        return Vectors(self._scope, collection)

    def observe(self, metric: str, value: Any) -> None:
        """Store a metric sample of this session: a number, a bool or a string; of a ratio two numbers.

        A value that a declared metric refuses is counted, and dropped with a warning: the agent goes on.
        """
        observing.observe_in_turn(self._kernel, self._scope, metric, value)

    def headers(self, audience: str | None = None, ttl: float = HEADER_SECONDS) -> dict[str, str]:
        """Return signed headers for a callee (or for the caller, on the way back), valid for `ttl` seconds.

        Journals first what this turn has read. With `audience`, only that agent can use them.
        """
        return self._seal(audience, ttl, None)

    def send(
        self, schema: str, payload: Any, audience: str | None = None, ttl: float = HEADER_SECONDS
    ) -> dict[str, str]:
        """Return headers for one message: they name the version of its schema, and are valid for this payload only."""
        self._rule(schema)
        return self._seal(audience, ttl, digest(schema, payload))

    def receive(
        self,
        schema: str,
        payload: Any,
        headers: Mapping[str, str] | None = None,
        peer: str | None = None,
        *,
        version: int | None = None,
    ) -> Any:
        """Return a message's payload in the version that this view speaks, translated if needed.

        It came with `headers`, or with the `parent=` that this turn began with. Raises `SyncNeeded` or `SchemaRefused`.
        `version` is the version that an unsigned peer is known to speak.
        """
        sender = self._sender if headers is None else self._absorb(headers, peer)
        if sender is None:
            raise InvalidValue("no headers came with this message; begin the turn with parent=, or pass headers=")
        scope = self._scope
        scope.read_current(_nothing)
        try:
            message = Incoming(schema, payload, sender, version)
            return messages.receive(self._kernel, scope.record, scope, self._rule(schema), message)
        except SyncNeeded:
            self._asks = "sync"
            raise

    def absorb(self, headers: "Turn | Mapping[str, str]", peer: str | None = None) -> None:
        """Take on a callee's lineage: of a turn of this process, or from the headers that another one sent back."""
        if isinstance(headers, Turn):
            children.absorb(self._kernel, self._scope, scope_of(headers), peer)
        else:
            self._absorb(headers, peer)

    def _absorb(self, headers: Mapping[str, str], peer: str | None) -> Sender:
        """Take on the lineage in headers; return who sent them: another thread may absorb others meanwhile."""
        scope = self._scope
        scope.read_current(_nothing)
        opened = open_headers(self._kernel, headers, peer, self.agent or self.person)
        self._sender = opened.sender
        scope.join_sender(opened.lineage, opened.record)
        self._catch_up_with(opened.sender)
        for turn in [envelope.turn for envelope in opened.envelopes] or [""]:
            scope.record_edge("absorb", turn)
        asking = next((envelope for envelope in opened.envelopes if envelope.asks is not None), None)
        if asking is not None:
            raise SyncNeeded(f"{asking.agent!r} asks for a fresh sync: begin a new turn, and send again")
        return opened.sender

    def close(self) -> None:
        """End the turn; every later operation raises `TurnClosed`."""
        self._scope.close()
        self._kernel.open_turns.remove(self)
        current.leave(self)

    def __repr__(self) -> str:
        """Return whose turn this is, without reading anything."""
        named = {"agent": self.agent, "person": self.person, "session": self.session}
        return f"<Turn {self.id[:8]}{''.join(f' {what}={brief(name)}' for what, name in named.items() if name)}>"

    def __enter__(self) -> Self:
        """Return the turn itself, which becomes the current one of this context."""
        current.enter(self, self._kernel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the turn."""
        self.close()

    # ── messages ──

    def _rules(self) -> dict[str, Rule]:
        return messages.rules_of(self.agent, self._scope.own.heads)

    def _rule(self, schema: str) -> Rule:
        return messages.rule_for(self.agent, self._rules(), schema)

    def _seal(self, audience: str | None, ttl: float, payload_digest: str | None) -> dict[str, str]:
        seconds = check_seconds("ttl", ttl) or HEADER_SECONDS
        if audience is not None:
            check_name("the audience", audience)
        scope = self._scope
        scope.record_edge("call", audience or "")
        base = scope.base - scope.record.peers  # the callee sees those anyway: every view does
        envelope = Envelope(
            turn=self.id,
            epoch=scope.view.epoch,
            base=sorted(base),
            lineage=sorted(scope.stamp),
            expires=scope.now() + seconds,
            session=self.session,
            audience=audience,
            agent=self.agent,
            hidden=sorted(base - scope.view.seen - scope.view.settled),
            speaks={schema: rule.version for schema, rule in self._rules().items()},
            digest=payload_digest,
            asks=self._asks,
            replays=None if scope.replaying is None else scope.replaying.called(audience),
            shared_memory=scope.shared_memory,
        )
        return envelopes.seal(envelope, self._kernel.header_key)

    def _catch_up_with(self, sender: Sender | None) -> None:
        """Move to the newest record; if the sender's lineage is rolled back, count that and end the turn."""
        try:
            self._scope.catch_up()
        except RolledBack:
            messages.count_refused(self._kernel, self._scope.record, self._scope, sender)
            raise


class HasKernel(Protocol):
    """A `Kedge`, as far as its turns are told from those of others."""

    @property
    def _kernel(self) -> Kernel: ...


def current_turn(*, ended: bool = False, of: HasKernel | None = None) -> Turn | None:
    """Return the turn that this context works in, or None: where it works in none, or began several without `with`.

    With `ended`, the innermost `with` block counts also where its turn has ended: every operation of that turn raises.
    So an adapter does not take what follows a rollback for work outside turns. With `of`, a `Kedge`, turns of other
    open databases do not count. In the code of a framework, it is the turn that the integration with that framework
    has begun for it.
    """
    kernel = None if of is None else of._kernel  # noqa: SLF001 - the face is above this layer
    known = (current.entered_last(kernel) if ended else None) or current.current(kernel)
    found = hosts.found_by_sources(known if isinstance(known, Turn) else None)
    return found if found is None or kernel is None or found._kernel is kernel else None  # noqa: SLF001 - its own


def turn_of(kernel: Kernel, session: str) -> Turn | None:
    """Return the only open turn of a session in this process, or None."""
    found = kernel.open_turns.only(check_name("the session", session))
    return found if isinstance(found, Turn) else None


def _nothing(_: View) -> None:
    """Look at nothing: the read only brings the view up to date."""


def _continues(on_settle: SettlePolicy | None, start: TurnStart) -> bool:
    """Return whether a turn goes on after a settle of what it does not see; by default, as its parent does."""
    if on_settle not in {None, "raise", "continue"}:
        raise InvalidValue(f"invalid on_settle {brief(on_settle)}: must be 'raise' or 'continue'")
    return start.continues if on_settle is None else on_settle == "continue"


def _check_names(session: str | None, agent: str | None, person: str | None, peer: str | None) -> None:
    """Raise `InvalidValue` unless a turn is an agent's or a person's, and names are names."""
    if agent is not None and person is not None:
        raise InvalidValue(f"agent={agent!r} and person={person!r} exclude each other; give one")
    if agent is None and person is None:
        raise InvalidValue(
            "a turn without agent= or person= cannot be attributed, and a rollback would miss what it writes; "
            "pass agent='…', the name that its artifacts begin with, or person='…' for a human"
        )
    for what, name in (("session", session), ("agent", agent), ("person", person)):
        if name is not None:
            check_name(f"the {what}", name)
    if peer is not None:
        check_peer(peer)
