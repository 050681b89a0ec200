"""Lineages: the sets of revocable deployments that influenced writes."""

from collections.abc import Iterable, Iterator

Lineage = frozenset[int]
EMPTY: Lineage = frozenset()


def union(lineages: Iterable[Lineage]) -> Lineage:
    """Return the lineage of a write that read all of these."""
    return EMPTY.union(*lineages)


def antichain(lineages: Iterable[Lineage]) -> list[Lineage]:
    """Return the minimal sets, smallest first: a view that sees a superset sees the subset."""
    minimal: list[Lineage] = []
    for candidate in sorted(set(lineages), key=lambda members: (len(members), sorted(members))):
        if not any(kept <= candidate for kept in minimal):
            minimal.append(candidate)
    return minimal


def to_ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return sorted inclusive ranges that hold exactly these numbers."""
    return tuple(_runs(sorted(set(numbers))))


def _runs(ordered: list[int]) -> Iterator[tuple[int, int]]:
    if not ordered:
        return
    first = last = ordered[0]
    for number in ordered[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last


def from_ranges(ranges: Iterable[tuple[int, int]]) -> frozenset[int]:
    """Return the numbers that inclusive ranges hold."""
    return frozenset(number for first, last in ranges for number in range(first, last + 1))
