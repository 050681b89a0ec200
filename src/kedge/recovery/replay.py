"""Replaying the source inputs whose derived results a rollback hid."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from kedge.embedding import coverage as embeddings
from kedge.kernel import Kernel
from kedge.model.visibility import View
from kedge.model.writes import Key, decode
from kedge.ports.survey import Influenced, Source, Unfed
from kedge.ports.vectors import Collection
from kedge.turn import Replays, Turn

_DEPTH_MAX = 32


class ReplayInput(msgspec.Struct, frozen=True):
    """A source input to process again: what it is, whose turn used it, and the last hidden turn that did.

    `value` is there where a handler gets it; lists leave it out.
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


class ReplayReport(msgspec.Struct, frozen=True):
    """Which inputs were replayed, and which failed and why; these stay pending."""

    replayed: tuple[ReplayInput, ...]
    failed: tuple[tuple[ReplayInput, str], ...]
    pending: int


Handler = Callable[[Turn, ReplayInput], Any]


def pending(kernel: Kernel, deployment: str | None = None) -> list[ReplayInput]:
    """Return the inputs whose derived results are hidden now, by rank, those already replayed left out."""
    record = kernel.backend.control.load()
    hidden = record.rolled_back
    if deployment is not None:
        number = record.find(deployment).number
        hidden &= record.dependants(number) | {number}
    survey = kernel.backend.survey
    lineages = survey.lineages_with(hidden)
    if not lineages:
        return []
    unfed = embeddings.unfed(kernel, View(record.epoch, record.live, record.settled), lineages)
    return inputs_of(kernel, survey.influenced(lineages), survey.sources_inside(lineages), unfed)


def inputs_of(
    kernel: Kernel, turns: list[Influenced], inside: list[Source], unfed: list[tuple[Collection, Unfed]]
) -> list[ReplayInput]:
    """Return the source inputs of turns whose derived writes are hidden, in order of rank, each once.

    `inside` are the source writes that these turns made. Turns that did nothing but embed documents have for inputs
    those that lack a vector without them: the `unfed`. Values are left out.
    """
    own: dict[int, list[Source]] = {}
    for source in inside:
        own.setdefault(source.turn, []).append(source)
    survey = kernel.backend.survey
    influenced = frozenset(turn.turn for turn in turns)
    found: dict[int, ReplayInput] = {}
    for turn in turns:
        if not turn.derived or turn.embeds:
            continue
        for source in own.get(turn.turn) or _inputs(kernel, turn, influenced, 0):
            if turn.turn > survey.replayed_upto(source.seq):
                found[source.seq] = _input(source, turn, found.get(source.seq))
    embedding = {turn.turn for turn in turns if turn.embeds}
    for collection, row in unfed:
        if row.turn in embedding and row.turn > survey.replayed_upto(row.document):
            found.setdefault(row.document, _document(collection, row))
    return sorted(found.values(), key=lambda item: (item.rank, item.seq))


def _document(collection: Collection, row: Unfed) -> ReplayInput:
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


def _input(source: Source, turn: Influenced, earlier: ReplayInput | None) -> ReplayInput:
    return ReplayInput(
        store=source.key.store,
        space=source.key.space,
        key=source.key.name,
        seq=source.seq,
        rank=source.rank,
        session=source.session or turn.session,
        agent=turn.agent if earlier is None else earlier.agent,
        upto_turn=turn.turn if earlier is None else max(earlier.upto_turn, turn.turn),
    )


def _with_value(kernel: Kernel, item: ReplayInput) -> ReplayInput:
    source = kernel.backend.survey.source_at(item.seq)
    if source is None and item.store == "documents":  # one that an agent derived
        record = kernel.backend.control.load()
        present = View(record.epoch, record.live, record.settled)
        key = Key(item.store, item.space, item.key)
        head = kernel.read_present(lambda view: kernel.backend.journal.head(view, key), present)
        return msgspec.structs.replace(item, value=None if head is None else decode(head.payload))
    value = None if source is None else decode(source.payload)
    return msgspec.structs.replace(item, value=value["content"] if item.store == "memory" and value else value)


def _inputs(kernel: Kernel, turn: Influenced, influenced: frozenset[int], depth: int) -> list[Source]:
    """Return what a turn worked on: its own source writes, else the newest message it read, else its caller's…"""
    survey = kernel.backend.survey
    own = survey.sources_of(turn.turn)
    if own or depth > _DEPTH_MAX:
        return own
    if turn.replays is not None:
        source = survey.source_at(turn.replays)
        return [] if source is None else [source]
    if turn.parent is not None:
        caller = survey.turn(turn.parent)
        if caller is not None and (found := _inputs(kernel, caller, influenced, depth + 1)):
            return found
    reads = survey.reads_of(turn.turn)
    histories = [r for log in reads for r in log.ranges if r.store == "memory"]
    messages = [survey.newest_message(r.space, r.at_seq) for r in histories]
    heard = {message.seq: message for message in messages if message is not None}
    if heard:
        return list(heard.values())
    seqs = [seq for log in reads for seq in log.seqs]
    read = [source for seq in seqs if (source := survey.source_at(seq)) is not None and source.key.store != "artifacts"]
    return read or _inputs_of_writers(kernel, turn, seqs, influenced, depth)


def _inputs_of_writers(
    kernel: Kernel, turn: Influenced, seqs: Iterable[int], influenced: frozenset[int], depth: int
) -> list[Source]:
    """Return the inputs behind hidden writes that a turn read: what it read of others' is visible, and was answered."""
    found: dict[int, Source] = {}
    for writer in kernel.backend.survey.writers_of(seqs):
        if writer.turn < turn.turn and writer.turn in influenced:
            found.update({source.seq: source for source in _inputs(kernel, writer, influenced, depth + 1)})
    return list(found.values())


def replay(
    kernel: Kernel,
    handler: Handler,
    deployment: str | None = None,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReplayReport:
    """Call `handler(turn, input)` once for each pending input, in order, in a turn that ranks at the input.

    A handler that raises leaves its input pending. Run again, writes that an earlier attempt made are found, not
    repeated.
    """
    waiting = pending(kernel, deployment)
    chosen = waiting if limit is None else waiting[:limit]
    done: list[ReplayInput] = []
    failed: list[tuple[ReplayInput, str]] = []
    for position, bare in enumerate(chosen):
        item = _with_value(kernel, bare)
        replays = Replays(item.rank, item.seq, item.upto_turn)
        try:
            with Turn(kernel, session=item.session, agent=item.agent, replays=replays) as turn:
                handler(turn, item)
        except Exception as error:  # noqa: BLE001 - the handler is the user's: whatever it raises goes into the report
            failed.append((item, f"{type(error).__name__}: {error}"))
        else:
            kernel.backend.survey.mark_replayed(item.seq, item.upto_turn, turn.id)
            done.append(item)
        if progress is not None:
            progress(position + 1, len(chosen))
    return ReplayReport(tuple(done), tuple(failed), len(waiting) - len(done))
