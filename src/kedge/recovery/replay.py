"""Replay of the source inputs whose derived results a rollback hid."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import msgspec

from kedge.bulk import coverage as embeddings
from kedge.errors import InvalidValue
from kedge.model import input_graph as graphs
from kedge.model.checks import check_callables, check_name
from kedge.model.codec import decode_with
from kedge.model.numbers import as_integer
from kedge.model.provenance import Source, TurnRecord
from kedge.model.visibility import View
from kedge.model.writes import SHARED_MEMORY, Key
from kedge.ports.coverage import Uncovered
from kedge.ports.vectors import Collection
from kedge.recovery import deleted_inputs
from kedge.recovery.replay_claim import ReplayClaim
from kedge.recovery.replay_inputs import SEQS_AT_ONCE, TURNS_AT_ONCE, InputFinder
from kedge.support.display import Report, Value, brief, count
from kedge.turns.kernel import Kernel
from kedge.turns.replaying import Replays
from kedge.turns.scope import scope_of
from kedge.turns.turn import Turn


class ReplayInput(Value, frozen=True):
    """A source input to process again, the session and agent that used it, and the last hidden turn that did.

    `value` is set when a handler gets the input; lists leave it out.
    """

    store: str
    space: str
    key: str
    seq: int
    rank: int
    session: str | None
    agent: str | None
    upto_turn: int
    value: Any = None
    person: str | None = None


class ReplayReport(Report, frozen=True):
    """Which inputs were replayed, and which failed and why. Failed inputs stay pending.

    `skipped` are those that another process was replaying, or finished meanwhile.
    `deleted`: how many inputs were left out since they have been deleted; they are not pending.
    """

    replayed: tuple[ReplayInput, ...]
    failed: tuple[tuple[ReplayInput, str], ...]
    pending: int
    skipped: tuple[ReplayInput, ...] = ()
    deleted: int = 0

    def __str__(self) -> str:
        """Return the verdict."""
        failed = f", {len(self.failed):,} failed" if self.failed else ""
        return f"{count(len(self.replayed), 'input')} replayed{failed}; {self.pending:,} pending"


Handler = Callable[[Turn, ReplayInput], Any]
TURNS_COUNTED_MAX = 1_000


def pending(kernel: Kernel, deployment: str | None = None) -> list[ReplayInput]:
    """Return the inputs whose derived results are hidden now, or were refused, in order of rank.

    Those already replayed are left out, and those that were deleted since.
    """
    return _survey(kernel, deployment)[0]


def count_pending(kernel: Kernel) -> tuple[int, bool]:
    """Return how many inputs of the first hidden turns are pending, and whether there are no other turns."""
    inputs, _, complete = _survey(kernel, None, TURNS_COUNTED_MAX)
    return len(inputs), complete


def _survey(
    kernel: Kernel, deployment: str | None, limit: int | None = None
) -> tuple[list[ReplayInput], list[ReplayInput], bool]:
    """Return the inputs to replay, those that would be if they had not been deleted, and whether these are all.

    With a `limit`, of so many turns only.
    """
    record = kernel.backend.control.load()
    hidden = record.rolled_back
    if deployment is not None:
        number = kernel.revocable(record, deployment).number
        hidden &= record.dependants(number) | {number}
    lineages = kernel.backend.impact.lineages_with(hidden)
    refused = kernel.backend.provenance.refused_turns(limit=limit) if deployment is None else []
    if not lineages and not refused:
        return [], [], True
    uncovered, influenced = list[tuple[Collection, Uncovered]](), list[TurnRecord]()
    if lineages:
        uncovered = embeddings.uncovered(kernel, View(record.epoch, record.live, record.settled), lineages)
        influenced = kernel.backend.provenance.influenced_turns(lineages, limit=limit)
    turns = _both(influenced, refused)
    inputs = inputs_of(kernel, turns, sources_of(kernel, turns), uncovered)
    complete = limit is None or max(len(influenced), len(refused)) < limit
    return *deleted_inputs.split(kernel, record, inputs), complete


def _both(influenced: list[TurnRecord], refused: list[TurnRecord]) -> list[TurnRecord]:
    """Return the turns whose derived writes are hidden, or were refused, in the order of their first write."""
    found = {turn.turn: turn for turn in (*influenced, *refused)}
    return [found[ident] for ident in sorted(found)]


def _forget_answered(kernel: Kernel) -> None:
    """Forget the turns to which derived writes were refused, and all inputs of which were answered since."""
    refused = kernel.backend.provenance.refused_turns()
    if not refused:
        return
    finder = InputFinder(kernel.backend.provenance, refused, sources_of(kernel, refused))
    nodes = finder.nodes(turn.turn for turn in refused)
    answered = _replayed_upto(kernel, graphs.inputs_of(nodes, [turn.turn for turn in refused]))
    done = [
        turn.uid
        for turn in refused
        if all(answered.get(seq, 0) >= turn.turn for seq in graphs.inputs_of(nodes, [turn.turn]))
    ]
    for start in range(0, len(done), TURNS_AT_ONCE):
        kernel.backend.replay_log.forget_refused(done[start : start + TURNS_AT_ONCE])


def sources_of(kernel: Kernel, turns: list[TurnRecord]) -> list[Source]:
    """Return the source writes that influenced turns made, without payloads, in order of seq."""
    idents = [turn.turn for turn in turns if turn.sources]
    found: list[Source] = []
    for start in range(0, len(idents), TURNS_AT_ONCE):
        found += kernel.backend.provenance.sources_of_turns(idents[start : start + TURNS_AT_ONCE])
    return sorted(found, key=lambda source: source.seq)


def inputs_of(
    kernel: Kernel, turns: list[TurnRecord], inside: list[Source], uncovered: list[tuple[Collection, Uncovered]]
) -> list[ReplayInput]:
    """Return the source inputs of turns whose derived writes are hidden, in order of rank, each once, without values.

    `inside` are the source writes that these turns made. The inputs of turns that only embedded documents are the
    documents that have no vector without them: the `uncovered`.
    """
    finder = InputFinder(kernel.backend.provenance, turns, inside)
    answered = {turn.turn: turn for turn in turns if turn.derived and not turn.embeds}
    nodes = finder.nodes(answered)
    embedding = {turn.turn for turn in turns if turn.embeds}
    lacking = [(collection, row) for collection, row in uncovered if row.turn in embedding]
    used = graphs.inputs_of(nodes, answered)
    replayed = _replayed_upto(kernel, used | {row.document for _, row in lacking})
    found = {
        seq: _input(finder.sources[seq], answered[span.first], answered[span.last])
        for seq, span in graphs.spans(nodes, answered, replayed).items()
    }
    for collection, row in lacking:
        if row.turn > replayed.get(row.document, 0):
            found.setdefault(row.document, _document(collection, row))
    return sorted(found.values(), key=lambda item: (item.rank, item.seq))


def _document(collection: Collection, row: Uncovered) -> ReplayInput:
    return ReplayInput(
        store="documents",
        space=collection.name,
        key=row.name,
        seq=row.document,
        rank=row.rank,
        session=row.session,
        agent=row.agent,
        upto_turn=row.turn,
    )


def _input(source: Source, first: TurnRecord, last: TurnRecord) -> ReplayInput:
    return ReplayInput(
        store=source.key.store,
        space=source.key.space,
        key=source.key.name,
        seq=source.seq,
        rank=source.rank,
        session=source.session or last.session,
        agent=first.agent if first.agent or first.person else last.agent,
        upto_turn=last.turn,
        person=None if first.agent else first.person,
    )


def _replayed_upto(kernel: Kernel, seqs: Iterable[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    asked = iter(seqs)
    while some := list(islice(asked, SEQS_AT_ONCE)):
        found |= kernel.backend.replay_log.replayed_upto(some)
    return found


def _with_value(kernel: Kernel, item: ReplayInput) -> tuple[ReplayInput, str | None]:
    """Return the input with its value, and why it cannot be replayed if its content was reclaimed."""
    source = kernel.backend.provenance.source_with_payload(item.seq)
    if source is None and item.store == "documents":  # a document that an agent derived
        record = kernel.backend.control.load()
        present = View(record.epoch, record.live, record.settled)
        key = Key(item.store, item.space, item.key)
        head = kernel.read_present(lambda view: kernel.backend.journal.head(view, key), present)
        return msgspec.structs.replace(
            item, value=None if head is None else decode_with(kernel.codec, head.payload)
        ), None
    if source is None:
        return item, None
    if source.payload is None:
        return item, (
            f"PastUnreadable: the input {brief(item.key)} in {item.store} {item.space!r} at seq {item.seq} was "
            "superseded, and a retention policy reclaimed its content; write it again if it should be answered"
        )
    value = decode_with(kernel.codec, source.payload)
    if item.store == "memory" and value and value["content"] is not None:
        value = value["content"]  # without one, the whole message is the input
    return msgspec.structs.replace(item, value=value), None


def _check_named(chosen: list[ReplayInput], agent: str | None) -> None:
    """Raise `InvalidValue`, before any input is replayed, where it is not known as whom to replay one."""
    if agent is not None:
        check_name("the agent", agent)
        return
    unnamed = [item for item in chosen if item.agent is None and item.person is None]
    if unnamed:
        first = unnamed[0]
        raise InvalidValue(
            f"{len(unnamed)} of {len(chosen)} inputs were used by turns that named no agent, such as seq {first.seq} "
            f"({first.store} {first.space}); pass agent='…' to say as whom to replay them; nothing was replayed"
        )


def replay(
    kernel: Kernel,
    handler: Handler,
    deployment: str | None = None,
    *,
    agent: str | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReplayReport:
    """Call `handler(turn, input)` once for each pending input, in order, in a turn that ranks at the input.

    `agent` replays the inputs whose turn named none, as those of old databases.

    An input whose handler raises stays pending. A second attempt finds the writes of the first and does not repeat
    them. An input that another process is replaying is skipped.
    """
    check_callables(handler=handler)
    most = None if limit is None else as_integer("limit", limit, "0 or more inputs, or None", least=0)
    waiting, deleted, _ = _survey(kernel, deployment)
    chosen = waiting if most is None else waiting[:most]
    _check_named(chosen, agent)
    done: list[ReplayInput] = []
    failed: list[tuple[ReplayInput, str]] = []
    skipped: list[ReplayInput] = []
    settled, gone = 0, len(deleted)  # by other processes; deleted
    for position, bare in enumerate(chosen):
        item = bare if bare.agent or bare.person else msgspec.structs.replace(bare, agent=agent)
        item, why = _with_value(kernel, item)
        with ReplayClaim(kernel, item.seq) as claim:
            finished = _replayed_upto(kernel, (item.seq,)).get(item.seq, 0) >= item.upto_turn
            if not claim.taken or finished:
                skipped.append(item)
                settled += finished
            elif deleted_inputs.split(kernel, kernel.backend.control.load(), (item,))[1]:
                gone += 1  # since the replay began
            elif (why := why or _replay_one(kernel, handler, item, claim)) is None:
                done.append(item)
            else:
                failed.append((item, why))
        if progress is not None:
            progress(position + 1, len(chosen))
    if deployment is None:
        _forget_answered(kernel)
    left = len(waiting) - len(done) - settled - (gone - len(deleted))
    return ReplayReport(tuple(done), tuple(failed), left, tuple(skipped), gone)


def _replay_one(kernel: Kernel, handler: Handler, item: ReplayInput, claim: ReplayClaim) -> str | None:
    """Replay one input; return why it failed, or None."""
    shared = item.store == "memory" and item.space == SHARED_MEMORY
    replays = Replays(item.rank, item.seq, item.upto_turn, shared_memory=shared, check=claim.check)
    try:
        turn = Turn(kernel, session=item.session, agent=item.agent, person=item.person, replays=replays, is_own=True)
        with turn:
            handler(turn, item)
    except Exception as error:  # noqa: BLE001 - a user's handler may raise anything: it is reported
        return f"{type(error).__name__}: {error}"
    if scope_of(turn).was_refused:  # the handler went on without it
        return "Frozen: a derived write was refused, so the input is not answered; replay it at a looser level"
    kernel.backend.replay_log.mark_replayed(item.seq, item.upto_turn, turn.id)
    return None
