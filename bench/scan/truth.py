"""Sites that a person found in public repositories, and the part of each repository that was read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus.txt")
JUDGED = Path(__file__).with_name("judged.txt")
_SELECTOR = re.compile(r"(env|config|argument)(?:\((\w+)\))?")


@dataclass(frozen=True)
class Row:
    """A site that was found by reading. `tier` "M": must be found; "O": counts neither for nor against."""

    path: str
    line: int
    site_class: str
    store: str
    kind: str
    function: str
    tier: str
    selector: str = ""

    @property
    def required(self) -> bool:
        """Whether the scan must find it."""
        return self.tier == "M" and self.site_class != "read"

    @property
    def selector_parts(self) -> tuple[str, str]:
        """Source and name of what selects the site; the name is "" where the reader noted none."""
        found = _SELECTOR.fullmatch(self.selector)
        return ("", "") if found is None else (found[1], found[2] or "")


@dataclass(frozen=True)
class Repository:
    """A repository at one commit, the globs of what was read of it, and the sites."""

    name: str
    commit: str
    scope: tuple[str, ...]
    rows: tuple[Row, ...]

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(glob_pattern(glob) for glob in self.scope)

    def contains(self, path: str) -> bool:
        """Whether a path is in the part that was read. A cell of a notebook is in it if the notebook is."""
        file = path.partition(":")[0]
        return any(pattern.fullmatch(file) for pattern in self._patterns)


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Return a glob as a regular expression: `*` stays within a folder, `**` does not."""
    parts = re.split(r"(\*\*/|\*\*|\*)", glob)
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))


def repositories(text: str) -> Iterator[Repository]:
    """Parse a corpus: `## owner/name @commit … | globs`, then rows."""
    for block in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        head, *lines = block.strip().splitlines()
        title, _, globs = head.partition(" | ")
        name, commit = title.split()[:2]
        rows = tuple(_row(line) for line in lines if line.strip())
        yield Repository(name, commit.removeprefix("@"), tuple(globs.split(",")), rows)


@dataclass(frozen=True)
class Judged:
    """A finding near no row that a person has judged."""

    repository: str
    path: str
    line: int
    site_class: str
    right: bool


def judgements(text: str) -> Iterator[Judged]:
    """Parse judgements: `## owner/name`, then `path:line|class|verdict|reason`."""
    for block in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name, *lines = block.strip().splitlines()
        for line in filter(str.strip, lines):
            place, site_class, verdict, _ = line.split("|", 3)
            path, _, number = place.rpartition(":")
            yield Judged(name, path, int(number), site_class, {"true": True, "false": False}[verdict])


def _row(line: str) -> Row:
    place, site_class, store, kind, function, tier, *selector = line.split("|")
    path, _, number = place.rpartition(":")
    return Row(path, int(number), site_class, store, kind, function, tier, *selector)
