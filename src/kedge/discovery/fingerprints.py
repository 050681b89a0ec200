"""Fingerprints of sites, and baselines: the sites that are known already, so that a check fails on new ones only.

A fingerprint is of class, store and function, not of the line or the file: code that moves is no new site. In files
without functions it is of the path and the name of what is declared. Of several sites with one fingerprint, the
number counts.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from kedge.discovery.sites import Site
from kedge.errors import InvalidValue

VERSION = 1


def fingerprint(site: Site) -> str:
    """Return the fingerprint of a site: 32 hexadecimal digits."""
    named = site.function not in {"", "<module>"}
    place = site.function if named else f"{site.path}\0{site.target if not site.function else ''}"
    text = f"{site.site_class}\0{site.store}\0{place}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def numbered(sites: Iterable[Site]) -> list[str]:
    """Return the fingerprints of sites with ":1", ":2", … for those that are equal, in order."""
    seen: Counter[str] = Counter()
    found: list[str] = []
    for site in sites:
        each = fingerprint(site)
        seen[each] += 1
        found.append(f"{each}:{seen[each]}")
    return found


class Known(msgspec.Struct, frozen=True, rename={"site_class": "class"}):
    """Sites of one fingerprint in a baseline. The labels are for the reader of the file."""

    fingerprint: str
    count: int
    site_class: str
    store: str
    place: str


class Baseline(msgspec.Struct, frozen=True):
    """The content of a baseline file."""

    version: int
    sites: tuple[Known, ...]

    def new(self, sites: Sequence[Site]) -> list[bool]:
        """Return for each site whether it is new: of more sites than are known, the last ones are."""
        left = Counter({known.fingerprint: known.count for known in self.sites})
        found: list[bool] = []
        for site in sites:
            each = fingerprint(site)
            found.append(left[each] <= 0)
            left[each] -= 1
        return found


def baseline_of(sites: Iterable[Site]) -> Baseline:
    """Return the baseline of sites."""
    by_fingerprint: dict[str, list[Site]] = {}
    for site in sites:
        by_fingerprint.setdefault(fingerprint(site), []).append(site)
    known = (
        Known(key, len(found), found[0].site_class, found[0].store, found[0].function or found[0].path)
        for key, found in by_fingerprint.items()
    )
    return Baseline(VERSION, tuple(sorted(known, key=lambda each: (each.store, each.place, each.fingerprint))))


def encode_baseline(baseline: Baseline) -> bytes:
    """Return the bytes of a baseline file."""
    return msgspec.json.format(msgspec.json.encode(baseline), indent=2) + b"\n"


def decode_baseline(content: bytes, name: str) -> Baseline:
    """Read a baseline file; raise `InvalidValue` for another file."""
    try:
        found = msgspec.json.decode(content, type=Baseline)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"not a baseline: {name} ({error}); write one with --write-baseline") from None
    if found.version != VERSION:
        raise InvalidValue(f"baseline {name} is of version {found.version}: this Kedge reads {VERSION}; write it again")
    return found
