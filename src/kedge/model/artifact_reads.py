"""Pins: the artifacts that a turn has read, by the seqs of their heads; a cached result rests on them."""

import msgspec

ABSENT = 0  # no head was visible
_MIXED = -1  # two heads were read at one name: no view matches
_LENGTH_BYTES = 4


class Taken(msgspec.Struct, frozen=True):
    """Artifacts that were read: the seq of the head of each name, and the seqs of all heads below each prefix."""

    names: dict[str, int] = {}
    prefixes: dict[str, list[int]] = {}

    def covers(self, other: "Taken") -> bool:
        """Return whether all that `other` read was read here too, with the same heads."""
        return all(
            self.names.get(name) == seq or (name not in self.names and self._has_prefix_of(name))
            for name, seq in other.names.items()
        ) and all(
            self.prefixes.get(prefix) == seqs or (prefix not in self.prefixes and self._has_prefix_of(prefix))
            for prefix, seqs in other.prefixes.items()
        )

    def _has_prefix_of(self, name: str) -> bool:
        return any(name.startswith(prefix) for prefix in self.prefixes)


class Pins:
    """The artifacts that a turn has read so far, without its agent's own, which are in the key of cached results."""

    def __init__(self, agent: str | None) -> None:
        self._own = None if agent is None else f"{agent}/"
        self._names: dict[str, int] = {}
        self._prefixes: dict[str, list[int]] = {}

    def note(self, name: str, seq: int) -> None:
        """Record that the head of a name was read; `ABSENT` where there was none."""
        if self._own is None or not name.startswith(self._own):
            self._names[name] = seq if self._names.get(name, seq) == seq else _MIXED

    def note_prefix(self, prefix: str, seqs: list[int]) -> None:
        """Record that all heads below a prefix were read."""
        if self._own is None or not prefix.startswith(self._own):
            self._prefixes[prefix] = seqs if self._prefixes.get(prefix, seqs) == seqs else [_MIXED]

    def learn(self, taken: Taken) -> None:
        """Record what a cached result rests on: who uses the result rests on it too."""
        for name, seq in taken.names.items():
            self.note(name, seq)
        for prefix, seqs in taken.prefixes.items():
            self.note_prefix(prefix, seqs)

    def taken(self) -> Taken:
        """Return what has been read so far."""
        return Taken(dict(self._names), dict(self._prefixes))


def pack(taken: Taken, payload: bytes) -> bytes:
    """Return a cached result with the artifacts that it rests on."""
    header = msgspec.msgpack.encode(taken)
    return len(header).to_bytes(_LENGTH_BYTES, "big") + header + payload


def unpack(packed: bytes) -> tuple[Taken, bytes]:
    """Return what `pack` packed."""
    end = _LENGTH_BYTES + int.from_bytes(packed[:_LENGTH_BYTES], "big")
    return msgspec.msgpack.decode(packed[_LENGTH_BYTES:end], type=Taken), bytes(packed[end:])
