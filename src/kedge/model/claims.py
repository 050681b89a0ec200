"""Claims on inputs: which process replays an input now, and until when, as the replay log keeps it."""

import re

import msgspec

_FORM = re.compile(r"claim:([0-9.]+):(\d+):([^:]*):(.+)")


class Claim(msgspec.Struct, frozen=True):
    """A process's claim: the machine and pid of its holder, its end by the wall clock, and an id of its own."""

    expires: float
    pid: int
    machine: str
    ident: str

    def encode(self) -> str:
        """Return the text in the log."""
        return f"claim:{self.expires:.3f}:{self.pid}:{self.machine}:{self.ident}"


def decode_claim(text: str | None) -> Claim | None:
    """Return the claim in the log, or None where the text is that of a finished replay."""
    found = None if text is None else _FORM.fullmatch(text)
    return None if found is None else Claim(float(found[1]), int(found[2]), found[3], found[4])
