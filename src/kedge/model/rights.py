"""Rights of each level: what an agent may learn, do, generate and say; and the presets that hold them."""

import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal

import msgspec

from kedge.errors import InvalidValue, nearest
from kedge.model.levels import LEVELS, Level
from kedge.support.display import Value, brief

Act = Literal["learn", "act", "generate", "speak"]
Reversibility = Literal["read", "undoable", "compensable", "irreversible"]
ACTS: tuple[Act, ...] = ("learn", "act", "generate", "speak")
REVERSIBILITIES: tuple[Reversibility, ...] = ("read", "undoable", "compensable", "irreversible")
_ACTS: dict[str, Act] = {act: act for act in ACTS}
_REVERSIBILITIES: dict[str, Reversibility] = {each: each for each in REVERSIBILITIES}


class Verdict(StrEnum):
    """The answer to whether something may be done, from the freest to the strictest."""

    YES = "yes"
    LABELLED = "labelled"  # say it, marked as uncertain
    APPROVED = "approved"  # only after a person has approved this very call
    CACHED = "cached"  # nothing new: an answer from the cache, or a pinned one
    CANNED = "canned"  # say only canned or cached answers, labelled
    NOTICE = "notice"  # say only that the feature is off
    NO = "no"

    @property
    def permits(self) -> bool:
        """Whether it may be done without more ado."""
        return self in _PERMITS

    @property
    def label(self) -> bool:
        """Whether what is said must be labelled."""
        return self in (Verdict.LABELLED, Verdict.CANNED)


_PERMITS = (Verdict.YES, Verdict.LABELLED, Verdict.CANNED)
_SCALES: dict[str, tuple[Verdict, ...]] = {
    "learn": (Verdict.YES, Verdict.NO),
    "act": (Verdict.YES, Verdict.APPROVED, Verdict.NO),
    "generate": (Verdict.YES, Verdict.CACHED, Verdict.NO),
    "speak": (Verdict.YES, Verdict.LABELLED, Verdict.CANNED, Verdict.NOTICE),
}


def _scale(name: str) -> tuple[Verdict, ...]:
    return _SCALES["act" if name in REVERSIBILITIES else name]


class Rights(Value, frozen=True):
    """What one level permits. The four classes of `act` are how far an effect can be undone."""

    learn: Verdict = Verdict.YES
    read: Verdict = Verdict.YES
    undoable: Verdict = Verdict.YES
    compensable: Verdict = Verdict.YES
    irreversible: Verdict = Verdict.YES
    generate: Verdict = Verdict.YES
    speak: Verdict = Verdict.YES

    def within(self, looser: "Rights") -> Iterator[str]:
        """Yield the names of the rights in which these exceed those of a looser level."""
        for name in self.__struct_fields__:
            scale = _scale(name)
            if scale.index(getattr(self, name)) < scale.index(getattr(looser, name)):
                yield name


_ELSE_APPROVED = Rights(compensable=Verdict.APPROVED, irreversible=Verdict.APPROVED)
_OFF = Rights(
    Verdict.NO, Verdict.NO, Verdict.NO, Verdict.NO, Verdict.NO, generate=Verdict.NO, speak=Verdict.NOTICE
)  # fmt: skip
_replace = msgspec.structs.replace
_DEFAULT = {
    Level.FULL: Rights(),
    Level.SUPERVISED: _ELSE_APPROVED,
    Level.FROZEN: _replace(_ELSE_APPROVED, learn=Verdict.NO),
    Level.CAUTIOUS: _replace(_OFF, read=Verdict.YES, generate=Verdict.YES, speak=Verdict.LABELLED),
    Level.FALLBACK: _replace(_OFF, generate=Verdict.CACHED, speak=Verdict.CANNED),
    Level.OFF: _OFF,
}


class Presets(msgspec.Struct, frozen=True):
    """The rights of all levels. Each level permits a subset of what the level above permits; off permits nothing."""

    full: Rights = _DEFAULT[Level.FULL]
    supervised: Rights = _DEFAULT[Level.SUPERVISED]
    frozen: Rights = _DEFAULT[Level.FROZEN]
    cautious: Rights = _DEFAULT[Level.CAUTIOUS]
    fallback: Rights = _DEFAULT[Level.FALLBACK]
    off: Rights = _OFF

    def __post_init__(self) -> None:
        """Raise `InvalidValue` unless the rights shrink from each level to the next, and off is off."""
        if self.off != _OFF:
            raise InvalidValue(f"invalid rights of 'off' {self.off!r}: off permits nothing; change another level")
        for looser, level in pairwise(LEVELS):
            for name in self.of(level).within(self.of(looser)):
                raise InvalidValue(
                    f"invalid presets: {level} permits {name} = {str(getattr(self.of(level), name))!r}, more than "
                    f"{looser}, which has {str(getattr(self.of(looser), name))!r}; a level permits a subset of what "
                    "the level above permits"
                )

    def of(self, level: Level) -> Rights:
        """Return the rights of a level."""
        found: Rights = getattr(self, level)
        return found


DEFAULT_PRESETS = Presets()


def may(level: Level, act: Act, *, reversibility: str | None = None, presets: Presets = DEFAULT_PRESETS) -> Verdict:
    """Return whether a level permits an act. An effect whose reversibility is not known counts as irreversible."""
    rights = presets.of(level)
    found: Verdict = getattr(rights, (reversibility or "irreversible") if act == "act" else act)
    return found


def check_act(act: object) -> Act:
    """Return an act by its name, or raise `InvalidValue`."""
    found = _ACTS.get(act) if isinstance(act, str) else None
    if found is None:
        raise InvalidValue(f"invalid act {brief(act)}{nearest(act, ACTS)}: must be one of {_listed(ACTS)}")
    return found


def check_reversibility(reversibility: object) -> Reversibility | None:
    """Return a reversibility class, None for one that is not known, or raise `InvalidValue`."""
    found = _REVERSIBILITIES.get(reversibility) if isinstance(reversibility, str) else None
    if found is None and reversibility is not None:
        raise InvalidValue(
            f"invalid reversibility {brief(reversibility)}{nearest(reversibility, REVERSIBILITIES)}: must be one of "
            f"{_listed(REVERSIBILITIES)}"
        )
    return found


def parse_presets(text: str) -> Presets:
    """Return the presets of a TOML text: the default ones, with what its tables `[level]` change.

    `act` is one verdict for all four classes, or a table by class.
    """
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, TypeError, AttributeError) as error:
        raise InvalidValue(f"invalid presets {brief(text)}: {error}; give TOML with a table for a level") from None
    return presets_of(tables)


def presets_of(tables: Mapping[str, Any]) -> Presets:
    """Return the presets that tables by level describe; what they leave out is as by default."""
    changed: dict[str, Rights] = {}
    for level, table in tables.items():
        if level not in LEVELS:
            raise InvalidValue(
                f"invalid level {brief(level)}{nearest(level, map(str, LEVELS))}: must be one of {_listed(LEVELS)}"
            )
        if not isinstance(table, Mapping):
            raise InvalidValue(f"invalid rights {brief(table)} of {level!r}: must be a table, such as [{level}]")
        changed[level] = _rights(Level(level), table)
    return Presets(**changed)


def to_tables(presets: Presets) -> dict[str, dict[str, Any]]:
    """Return the tables by level that `presets_of` reads, of all levels whose rights are not the default ones."""
    changed = [level for level in LEVELS if presets.of(level) != _DEFAULT[level]]
    return {str(level): _table(presets.of(level), _DEFAULT[level]) for level in changed}


def _table(rights: Rights, default: Rights) -> dict[str, Any]:
    differing = [name for name in rights.__struct_fields__ if getattr(rights, name) != getattr(default, name)]
    table: dict[str, Any] = {name: str(getattr(rights, name)) for name in differing if name not in REVERSIBILITIES}
    if acts := {name: str(getattr(rights, name)) for name in differing if name in REVERSIBILITIES}:
        table["act"] = acts
    return table


def _rights(level: Level, table: Mapping[str, Any]) -> Rights:
    found: dict[str, Verdict] = {}
    for act, given in table.items():
        if act not in ACTS:
            raise InvalidValue(f"invalid right {brief(act)} of {level}{nearest(act, ACTS)}: must be {_listed(ACTS)}")
        if act != "act":
            found[act] = _verdict(level, act, given)
        elif isinstance(given, Mapping):
            found |= {_class(level, name): _verdict(level, name, verdict) for name, verdict in given.items()}
        else:
            found |= {name: _verdict(level, act, given) for name in REVERSIBILITIES}
    return _replace(_DEFAULT[level], **found)


def _class(level: Level, name: str) -> str:
    if name not in REVERSIBILITIES:
        raise InvalidValue(
            f"invalid class {brief(name)} of act of {level}{nearest(name, REVERSIBILITIES)}: must be "
            f"{_listed(REVERSIBILITIES)}"
        )
    return name


def _verdict(level: Level, name: str, given: object) -> Verdict:
    scale = _scale(name)
    for verdict in scale:
        if given == verdict:
            return verdict
    raise InvalidValue(f"invalid right {brief(given)} of {level}: {name} must be {_listed(scale)}")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
