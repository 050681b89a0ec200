"""Reading scope of a turn: what its stores read through, and the log of what they have read."""

from collections.abc import Iterable

from kedge.errors import NoSession, UntrustedHeaders
from kedge.model.artifact_reads import ABSENT, Pins, Taken
from kedge.model.codec import Codec
from kedge.model.control import ControlRecord
from kedge.model.lineage import Lineage
from kedge.model.reads import RangeRead
from kedge.model.turns import check_seen
from kedge.model.writes import SHARED_MEMORY, Head, Key, encode
from kedge.turns.artifact_cache import NO_ARTIFACTS, AgentArtifacts
from kedge.turns.begin import TurnStart, imposed_artifacts, own_artifacts
from kedge.turns.kernel import Kernel
from kedge.turns.pinned_view import PinnedView, moving
from kedge.turns.replaying import Replays


class ReadingScope(PinnedView):
    """What one turn reads through: reads add to its lineage."""

    def __init__(
        self, kernel: Kernel, start: TurnStart, *, agent: str | None, person: str | None, replays: Replays | None
    ) -> None:
        super().__init__(kernel, start, agent=agent, person=person, replays=replays)
        self.shared_memory = replays is not None and replays.shared_memory
        self.distrust = start.distrust
        self._came_at: float | None = None  # when the replayed input did
        self.own = NO_ARTIFACTS
        self.imposed = NO_ARTIFACTS  # of deployments with attribution="view"
        self.pins = Pins(agent)

    @property
    def codec(self) -> Codec | None:
        """The codec of values that JSON cannot hold, if this process has one."""
        return self._kernel.codec

    @property
    def session(self) -> str | None:
        """The session whose memory this scope reads."""
        return self.author.session

    @property
    def memory_space(self) -> str:
        """The space of the session's memory, or raise: without a session there is none."""
        if self.author.session is not None:
            return self.author.session
        if self.shared_memory:
            return SHARED_MEMORY
        if self.distrust:
            raise UntrustedHeaders(
                f"the headers that this turn began from named a session, and they cannot be trusted: {self.distrust}; "
                "its memory is refused: call again with fresh headers, or give session= if you know the session"
            )
        raise NoSession("this turn has no session, and memory belongs to sessions; give session= to k.turn")

    @property
    def agent(self) -> str | None:
        """The agent whose turn it is."""
        return self.author.agent

    @property
    def label(self) -> str:
        """What its views are of, as the command line names it."""
        return "now" if self.author.session is None else f"session:{self.author.session}"

    # ── what was read ──

    def record_read(self, heads: Iterable[Head]) -> None:
        """Record that these writes (values or deletes) were read."""
        self.log.saw(heads)
        self._check_influences()

    def record_range(self, read: RangeRead, lineages: Iterable[Lineage]) -> None:
        """Record that a range was read, with the lineages of all heads in it."""
        self.log.saw_range(read, lineages)
        self._check_influences()

    def remember_head(self, key: Key, seq: int, lineage: Lineage) -> None:
        """Remember the put with this seq as the head of a key, for the next compare-and-set."""
        self.log.met(key, seq, lineage)

    def compare_head(self, key: Key, seq: int) -> bool:
        """Return whether `seq` is the remembered head of a key; if so, record it as read and forget it."""
        return self.log.compares(key, seq)

    def join(self, lineage: Lineage) -> None:
        """Add the lineage of something read that is not in the journal, such as a cached result."""
        self.log.join(lineage)
        self._check_influences()

    def join_sender(self, lineage: Lineage, record: ControlRecord | None) -> None:
        """Add the lineage of a message's sender; untrusted peers in it become visible to this turn.

        Raises `NotSeen`, and adds nothing, where the turn does not see that lineage.
        """
        known = record or self.backend.control.load()
        base = self.base | (lineage & known.externals)
        check_seen(lineage, base, known, self._kernel.names)
        self._widen(base)
        self.log.join(lineage)

    @property
    def stamp(self) -> Lineage:
        """The lineage that a derived write would get now, as deployment numbers: without settled deployments."""
        return self.log.lineage - self.view.settled

    def names(self, numbers: Iterable[int]) -> frozenset[str]:
        """Return the names of deployments."""
        return self._kernel.names(numbers)

    def was_visible(self, lineage: Lineage) -> bool:
        """Return whether a write of this lineage would be visible if nothing had been rolled back."""
        return lineage <= self.base | self.record.settled

    # ── artifacts ──

    def pin_artifacts(self, agent: str) -> AgentArtifacts:
        """Read the agent's own artifacts, and those that the view attributes to every agent, at the start of a turn."""
        self.own = own_artifacts(self._kernel, self._read, self.view, agent)
        self._record_own()
        self._check_influences()
        self.imposed = self._read(lambda view: imposed_artifacts(self._kernel, self.record, view))
        self._record_imposed()
        self._check_influences()
        return self.own

    def _record_own(self) -> None:
        self.log.saw_range(self.own.read, self.own.lineages)

    def _record_imposed(self) -> None:
        self.log.saw(self.imposed.heads)
        self.log.join(frozenset().union(*self.imposed.lineages))

    def _see_more(self) -> None:
        if self.author.agent is None:
            return
        self.pin_artifacts(self.author.agent)
        with moving.here:
            if self._is_unused():  # else it has read what it began with
                self.log.restart(self._given)
                self._record_own()
                self._record_imposed()

    def record_pin(self, name: str, seq: int) -> None:
        """Record that the head of an artifact was read, by its seq; 0 where none is visible."""
        self.pins.note(name, seq)

    def record_pins(self, prefix: str, seqs: list[int]) -> None:
        """Record that the heads of all artifacts below a prefix were read."""
        self.pins.note_prefix(prefix, seqs)

    def rests_on(self) -> Taken:
        """Return the artifacts that the turn has read, its agent's own included."""
        taken, agent = self.pins.taken(), self.author.agent
        own = {} if agent is None else {f"{agent}/": [head.seq for head in self.own.heads]}
        return Taken(taken.names, taken.prefixes | own)

    def matches_pins(self, taken: Taken) -> bool:
        """Return whether a result that rests on these artifacts is one for this turn: it reads the same heads."""
        if not taken.covers(self.pins.taken()):
            return False
        journal = self.backend.journal
        if taken.names:
            heads = self.read(lambda view: journal.heads(view, "artifacts", "", list(taken.names)))
            if any(seq != (heads[name].seq if name in heads else ABSENT) for name, seq in taken.names.items()):
                return False
        return all(
            seqs == [head.seq for head in self._artifacts_below(prefix)] for prefix, seqs in taken.prefixes.items()
        )

    def _artifacts_below(self, prefix: str) -> list[Head]:
        journal = self.backend.journal
        return self.read(lambda view: journal.range(view, "artifacts", "", prefix, payloads=False)).heads

    def artifacts_key(self) -> bytes:
        """Return the part of a cache key that stands for the agent's artifacts."""
        heads = (*self.own.heads, *self.imposed.heads)
        return encode([self.author.agent or "", *((head.payload or b"").decode() for head in heads)])

    # ── time ──

    def now(self) -> float:
        """Return the time that freshness is measured against."""
        return self.backend.clock.now()

    def view_time(self) -> float:
        """Return the time that this scope reads at: now, or, for the replay of an input, when that came."""
        if self._rank is None:
            return self.now()
        if self._came_at is None:
            self._came_at = self.backend.control.time_of(self._rank)
        return self._came_at
