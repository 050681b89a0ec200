"""Ranges of names: which part of a space is read, in which order, and how much of it a limited read covers."""

from collections.abc import Iterable, Sequence
from typing import Self

import msgspec

from kedge.model.checks import check_name
from kedge.model.numbers import as_integer
from kedge.model.writes import Head, prefix_end

_LIMIT_MAX = 2**63 - 1  # what databases can count to


class Span(msgspec.Struct, frozen=True):
    """The names from `low` on and before `high` (None: all), in order, or in falling order if `reverse`.

    Of those that have a value, the first `limit` in that order (None: all).
    """

    low: str = ""
    high: str | None = None
    limit: int | None = None
    reverse: bool = False

    def holds(self, name: str) -> bool:
        """Return whether a name is within the bounds."""
        return name >= self.low and (self.high is None or name < self.high)

    def after(self, name: str) -> Self:
        """Return the part that comes after a name, in the order of the range."""
        if self.reverse:
            return msgspec.structs.replace(self, high=name if self.high is None else min(name, self.high))
        return msgspec.structs.replace(self, low=max(just_after(name), self.low))

    def upto(self, name: str) -> Self:
        """Return the part up to a name, itself included, without a limit."""
        if self.reverse:
            return msgspec.structs.replace(self, low=max(name, self.low), limit=None)
        high = just_after(name)
        return msgspec.structs.replace(self, high=high if self.high is None else min(high, self.high), limit=None)

    def covered(self, names: Sequence[str]) -> Self:
        """Return what a read that found these names has covered: what comes after the last of `limit` was not read."""
        if self.limit is None or len(names) < self.limit:
            return msgspec.structs.replace(self, limit=None)
        return self.upto(names[-1])

    def chosen(self, heads: Iterable[Head]) -> list[Head]:
        """Return those of a space's heads that the range holds, in its order, as a read of it would find them."""
        inside = (head for head in heads if self.holds(head.key.name))
        found = sorted(inside, key=lambda head: head.key.name, reverse=self.reverse)
        return found if self.limit is None else found[: self.limit]


def below(prefix: str) -> Span:
    """Return the range of all names that begin with a prefix."""
    return Span(prefix, prefix_end(prefix))


def span_of(prefix: str, after: str | None, limit: int | None, *, reverse: bool) -> Span:
    """Return the range of the names that begin with a prefix, as a caller asks for it; see `stores.keyed`."""
    found = below(check_name("the prefix", prefix, empty=True))
    if after is not None:
        found = msgspec.structs.replace(found, reverse=bool(reverse)).after(check_name("the name in after=", after))
    most = None if limit is None else min(as_integer("limit", limit, "0 or more, or None", least=0), _LIMIT_MAX)
    return msgspec.structs.replace(found, limit=most, reverse=bool(reverse))


def as_span(names: Span | str) -> Span:
    """Return a range; a string is a prefix."""
    return below(names) if isinstance(names, str) else names


def just_after(name: str) -> str:
    """Return the least name that can come after a name: names hold no control characters."""
    return f"{name} "
