"""Source inputs of turns: which inputs must be processed again when the turns' results are hidden."""

from collections.abc import Iterable, Mapping

from kedge.model.provenance import Source, TurnRecord
from kedge.ports.provenance import Provenance

_DEPTH_MAX = 32
_TURNS_AT_ONCE = 1_000

Turns = Mapping[int, TurnRecord]
Found = dict[int, list[Source]]


class InputFinder:
    """Finds the inputs of many turns with a few queries. `influenced`: the turns whose derived writes are hidden."""

    def __init__(self, provenance: Provenance, influenced: frozenset[int]) -> None:
        self._provenance = provenance
        self._influenced = influenced

    def of(self, turns: Iterable[TurnRecord]) -> Found:
        """Return the inputs of each turn, without payloads.

        These are its own source writes; else the input that it replays; else its caller's inputs; else the newest
        messages that it read; else the sources that it read; else the inputs of hidden writes that it read.
        """
        asked = list(turns)
        found: Found = {}
        for start in range(0, len(asked), _TURNS_AT_ONCE):
            found |= self._of({turn.turn: turn for turn in asked[start : start + _TURNS_AT_ONCE]}, 0)
        return found

    def _of(self, turns: Turns, depth: int) -> Found:
        found: Found = {}
        left = turns
        steps = [self._own] if depth > _DEPTH_MAX else [self._own, self._replayed, self._of_callers, self._read]
        for step in steps:
            if left:
                found |= step(left, depth)
                left = {ident: turn for ident, turn in turns.items() if ident not in found}
        return found | {ident: [] for ident in left}

    def _own(self, turns: Turns, _: int) -> Found:
        found: Found = {}
        for source in self._provenance.sources_of_turns(turns):
            found.setdefault(source.turn, []).append(source)
        return found

    def _replayed(self, turns: Turns, _: int) -> Found:
        replays = {ident: turn.replays for ident, turn in turns.items() if turn.replays is not None}
        sources = self._sources_at(replays.values())
        return {ident: [sources[seq]] if seq in sources else [] for ident, seq in replays.items()}

    def _of_callers(self, turns: Turns, depth: int) -> Found:
        parents = {ident: turn.parent for ident, turn in turns.items() if turn.parent is not None}
        callers = {caller.uid: caller for caller in self._provenance.turns(parents.values())} if parents else {}
        inputs = self._of({caller.turn: caller for caller in callers.values()}, depth + 1) if callers else {}
        found = {ident: inputs[callers[uid].turn] for ident, uid in parents.items() if uid in callers}
        return {ident: sources for ident, sources in found.items() if sources}

    def _read(self, turns: Turns, depth: int) -> Found:
        reads = self._provenance.reads_of(turns)
        histories = {
            ident: {(r.space, r.at_seq) for log in logs for r in log.ranges if r.store == "memory"}
            for ident, logs in reads.items()
        }
        messages = self._provenance.newest_messages(set().union(*histories.values()))
        found: Found = {}
        for ident, asked in histories.items():
            heard = {messages[where].seq: messages[where] for where in asked if where in messages}
            if heard:
                found[ident] = [heard[seq] for seq in sorted(heard)]
        seqs = {ident: [seq for log in reads[ident] for seq in log.seqs] for ident in reads if ident not in found}
        sources = self._sources_at(seq for ident in seqs for seq in seqs[ident])
        for ident, read in seqs.items():
            own = [sources[seq] for seq in read if seq in sources and sources[seq].key.store != "artifacts"]
            if own:
                found[ident] = own
        return found | self._of_writers({ident: read for ident, read in seqs.items() if ident not in found}, depth)

    def _of_writers(self, seqs: Mapping[int, list[int]], depth: int) -> Found:
        """Return the inputs of hidden writes that turns read. Other writes that they read need no replay."""
        asked = {seq for read in seqs.values() for seq in read}
        writers = {
            seq: writer for seq, writer in self._provenance.writers_of(asked).items() if writer.turn in self._influenced
        }
        inputs = self._of({writer.turn: writer for writer in writers.values()}, depth + 1) if writers else {}
        found: Found = {}
        for ident, read in seqs.items():
            behind = {writers[seq].turn for seq in read if seq in writers and writers[seq].turn < ident}
            found[ident] = list({s.seq: s for turn in sorted(behind) for s in inputs[turn]}.values())
        return found

    def _sources_at(self, seqs: Iterable[int]) -> dict[int, Source]:
        asked = set(seqs)
        return {source.seq: source for source in self._provenance.sources_at(asked)} if asked else {}
