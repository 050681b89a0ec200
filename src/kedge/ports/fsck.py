"""What a check of everything on disk found."""

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One thing on disk that is not as it must be: what kind of thing, where, and what is wrong with it."""

    kind: str
    where: str
    message: str


class FsckReport(msgspec.Struct, frozen=True):
    """What was checked, how much of it, and what was found. `full`: everything was; else a sample of large tables.

    `notes` are no damage: what is made anew by itself.
    """

    full: bool
    findings: tuple[Finding, ...]
    checked: dict[str, int]
    notes: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
