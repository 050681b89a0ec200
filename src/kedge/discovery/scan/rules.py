"""Rules of the scan: the TOML format, its loader, and the index that the engine looks names up in.

A file holds tables of these sorts. Names are qualified: `qdrant_client.QdrantClient` in Python,
`@qdrant/js-client-rest:QdrantClient` in JavaScript (`package:default` is the default export). `()` stands for the
result of a call (`langgraph.graph.StateGraph().compile`), `*` for any characters of one dotted part, and `**` for any
number of parts (`langchain*.**.Chroma`).

`[[type]]`    `calls` (classes, functions, annotations) give a value of the abstract type `gives`, which is no site of
              its own: a table, an abstract base class. `store` and `kind` are those of the value. `extends`: types
              whose members and writes it has too. `values`: names that are such a value themselves, as they are
              imported (`fastapi_sqlalchemy.db`, `@vercel/kv:kv`).
`[[bind]]`    `calls` open a handle to `store`, a value of type `gives`. `inherited`: a platform makes the instances, so
              that a class of JavaScript that inherits from it is the site.
`[[member]]`  `member` of a value of type `on` gives type `gives`. `[]` is a subscript, `with` what `with` binds, `iter`
              an item of a loop, `()` a call of the value itself, `*` any
              attribute without an entry of its own, `*()` the result of any method without one. `self` gives the
              same value again (builders).
`[[write]]`   `methods` of type `on` (`()`: a call of the value), or `calls`, change the store. `sql`: the
              argument whose statement decides. `assigned`: a commit, which counts after an assignment to a row.
`[[callback]]` a function that is given to `calls`, or to `methods` of `on`, has a value of type `gives` as its
              parameter number `parameter`, from 0 (a transaction, a context), or as those named `parameters`.
`[[attach]]`  `calls`, or `methods` of `on`, give the store in `argument` to an agent; `attribute`: an assignment to an
              attribute of this name does, if the value is of one of `types`.
`[[pin]]`     `calls`, or `methods` of `on`, name a mutable reference.
`[[example]]` `code`, and the sites that the rules find in it ("2 bind qdrant remote"); a rule that no example needs is
              refused by a test. `path` gives the language.

In a name, `{a,b}` is one of several texts: `x.Chroma{,.from_texts}` is `x.Chroma` and `x.Chroma.from_texts`. Users
write the same tables under `discovery` in a `kedge.toml`: `[[discovery.bind]]`.

All of them: `when` refines, first that holds (`store`, `kind`, `gives`); `only`: all must hold; `unless`: none may
hold. A condition names an `argument`: its keyword, its position, or both. `field` is a keyword or key inside of it. A
keyword is also looked for in an object literal among the arguments. It tests `present`, `equals` or `matches`
(a search in the text, with `{}` for a part that is not known; of a setting without a value its name is searched, from
each of its words on: `postgres_url` and `url` of POSTGRES_URL). A condition may also ask for a package that the module
`imports`.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from math import prod
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from kedge.discovery.configuration import discovery_tables
from kedge.discovery.sites import Confidence, StateKind
from kedge.errors import InvalidValue
from kedge.support.display import brief

Argument: TypeAlias = str | int | tuple[str | int, ...]
"""An argument by keyword, by position, or by any of several."""

MOST_NAMES = 1000
"""Names that one pattern with braces may stand for."""
MOST_REPEATS = 3
"""`*`, `+` and `{n,m}` in one expression: what it costs grows with the length of the text to this power."""
LONGEST_TEXT = 200
"""Characters of a value that an expression is searched in."""

Table: TypeAlias = Literal["type", "value", "bind", "write", "callback", "attach", "pin"]
TABLES: tuple[Table, ...] = ("type", "bind", "write", "callback", "attach", "pin")


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A test of one argument, and what a rule becomes if it holds."""

    argument: Argument | None = None
    field: str = ""
    imports: str = ""
    present: bool | None = None
    equals: bool | int | float | str | None = None
    matches: str = ""
    store: str = ""
    kind: StateKind | None = None
    gives: str = ""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a table; see the module for which field belongs to which."""

    calls: tuple[str, ...] = ()
    on: str | tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    store: str = ""
    kind: StateKind | None = None
    gives: str = ""
    extends: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    inherited: bool = False
    when: tuple[Condition, ...] = ()
    only: tuple[Condition, ...] = ()
    unless: tuple[Condition, ...] = ()
    argument: Argument | None = None
    target: Argument | None = None
    sql: Argument | None = None
    assigned: bool = False
    attribute: str = ""
    parameter: int = 0
    types: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    confidence: Confidence = "high"
    note: str = ""


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a member of an abstract type gives."""

    on: str | tuple[str, ...]
    member: str | tuple[str, ...]
    gives: str
    target: Argument | None = None


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Code, and the sites that the rules find in it, each "LINE CLASS STORE KIND"."""

    code: str
    sites: tuple[str, ...]
    path: str = "example.py"


class RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of rules."""

    type: tuple[Rule, ...] = ()
    bind: tuple[Rule, ...] = ()
    member: tuple[Member, ...] = ()
    write: tuple[Rule, ...] = ()
    callback: tuple[Rule, ...] = ()
    attach: tuple[Rule, ...] = ()
    pin: tuple[Rule, ...] = ()
    example: tuple[Example, ...] = ()


def expanded(name: str) -> list[str]:
    """Return the names that one with `{a,b}` stands for.

    >>> expanded("a.{B,C}{,.of}")
    ['a.B', 'a.B.of', 'a.C', 'a.C.of']
    """
    found = re.search(r"\{([^{}]*)\}", name)
    if found is None:
        return [name]
    before, after = name[: found.start()], expanded(name[found.end() :])
    return [before + choice + rest for choice in found[1].split(",") for rest in after]


def names_of(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    return (value,) if isinstance(value, str) else value


@functools.cache
def name_pattern(name: str) -> re.Pattern[str]:
    """Return the expression that a name with `*` and `**` stands for.

    >>> bool(name_pattern("langchain*.**.Chroma").fullmatch("langchain_community.vectorstores.Chroma"))
    True
    >>> bool(name_pattern("langchain*.**.Chroma").fullmatch("langchain_chroma.Chroma"))
    True
    """
    text = re.escape(name).replace(r"\*\*", "\0").replace(r"\*", r"[^.:/]*")
    text = text.replace("\\.\0\\.", r"\.(?:[^:]*\.)?").replace("/\0:", "(?:/[^:]*)?:").replace("\0", ".*")
    return re.compile(text)


def last_part(name: str) -> str:
    """Return the last part of a qualified name, without calls: `Client` of `a.b.Client`, `compile` of `a.B().compile`.

    >>> last_part("langgraph.graph.StateGraph().compile"), last_part("openai:default")
    ('compile', 'default')
    """
    return re.split(r"[.:]", name)[-1].removesuffix("()")


class _Names:
    """Rules of one table by qualified name: exact names before patterns, else in the order of the files."""

    def __init__(self, rules: Iterable[tuple[Rule, tuple[str, ...]]]) -> None:
        self.exact: dict[str, list[Rule]] = {}
        self.patterns: dict[str, list[tuple[str, Rule]]] = {}
        self._found: dict[str, tuple[Rule, ...]] = {}
        for rule, groups in rules:
            for name in (name for group in groups for name in expanded(group)):
                if "*" in name:
                    self.patterns.setdefault(last_part(name), []).append((name, rule))
                else:
                    self.exact.setdefault(name, []).append(rule)

    def find(self, name: str) -> tuple[Rule, ...]:
        """Return the rules of a qualified name."""
        found = self._found.get(name)
        if found is None:
            found = tuple(self.exact.get(name, ()))
            last = last_part(name)
            for key in (last, "*", "**"):
                found += tuple(
                    rule for pattern, rule in self.patterns.get(key, ()) if name_pattern(pattern).fullmatch(name)
                )
            self._found[name] = found
        return found


class Rules:
    """All rules, indexed."""

    def __init__(self, files: Sequence[RuleFile]) -> None:
        self.tables: dict[Table, tuple[Rule, ...]] = {
            table: tuple(rule for file in files for rule in getattr(file, table)) for table in TABLES
        }
        self._names = {table: _Names((rule, rule.calls) for rule in rules) for table, rules in self.tables.items()}
        self._names["value"] = _Names((rule, rule.values) for rule in self.tables["type"])
        self._methods = self._index_methods()
        self._members: dict[tuple[str, str], Member] = {}
        for entry in (entry for file in files for entry in file.member):
            for on, name in ((on, name) for on in names_of(entry.on) for name in names_of(entry.member)):
                self._members.setdefault((on, name), entry)
        self._extends: dict[str, tuple[str, ...]] = {}
        for rule in self.tables["type"]:
            self._extends[rule.gives] = self._extends.get(rule.gives, ()) + rule.extends
        self.callback_verbs = self._last_names("callback")
        """Last names of the calls that are given functions."""
        self._lineages: dict[str, tuple[str, ...]] = {}
        self.attributes: dict[str, tuple[Rule, ...]] = {}
        for rule in (rule for rule in self.tables["attach"] if rule.attribute):
            self.attributes[rule.attribute] = (*self.attributes.get(rule.attribute, ()), rule)
        self.verbs = self._last_names("bind", "write", "attach", "pin")
        groups = (group for table in TABLES for rule in self.tables[table] for group in (*rule.calls, *rule.values))
        names = (name for group in groups if ":" not in group for name in expanded(group))
        self.packages = frozenset(top for name in names if "*" not in (top := name.partition(".")[0]))
        """Top names of the Python packages that rules name."""

    def _index_methods(self) -> dict[tuple[Table, str, str], tuple[Rule, ...]]:
        found: dict[tuple[Table, str, str], tuple[Rule, ...]] = {}
        for table, rules in self.tables.items():
            for rule in rules:
                for key in ((table, on, method) for on in names_of(rule.on) for method in rule.methods):
                    found[key] = (*found.get(key, ()), rule)
        return found

    def _last_names(self, *tables: Table) -> frozenset[str]:
        """Return the last names of what the rules of some tables are for."""
        verbs = {method.rpartition(".")[2] for table, _, method in self._methods if table in tables}
        for table in tables:
            groups = (group for rule in self.tables[table] for group in rule.calls)
            verbs.update(last_part(name) for group in groups for name in expanded(group))
        return frozenset(verbs)

    def lineage(self, type_name: str) -> tuple[str, ...]:
        """Return a type and all that it extends, nearest first."""
        known = self._lineages.get(type_name)
        if known is None:
            found = [type_name]
            for name in found:
                found += [base for base in self._extends.get(name, ()) if base not in found]
            known = self._lineages[type_name] = tuple(found)
        return known

    def calls(self, table: Table, name: str) -> tuple[Rule, ...]:
        """Return the rules of a table for a call of a qualified name."""
        return self._names[table].find(name)

    def methods(self, table: Table, type_name: str, method: str) -> tuple[Rule, ...]:
        """Return the rules of a table for a method of an abstract type."""
        return tuple(rule for on in self.lineage(type_name) for rule in self._methods.get((table, on, method), ()))

    def member(self, type_name: str, name: str) -> Member | None:
        """Return what a member of an abstract type gives."""
        for on in self.lineage(type_name):
            if (found := self._members.get((on, name))) is not None:
                return found
        return None


def load_rules(extra: Sequence[Path] = ()) -> Rules:
    """Load the rules of Kedge and those under `discovery` in the files of the caller, which come first.

    Raises `InvalidValue` for a file that is no TOML, or an entry of the wrong form.
    """
    own = tuple(rules_of(discovery_tables(path), str(path)) for path in extra)
    return Rules([*own, *_shipped()]) if any(file != RuleFile() for file in own) else _shipped_rules()


@functools.cache
def _shipped() -> tuple[RuleFile, ...]:
    folder = resources.files("kedge.discovery.scan") / "rules"
    items = sorted((item for item in folder.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name)
    return tuple(read_rules(item.read_text(encoding="utf-8"), item.name) for item in items)


@functools.cache
def _shipped_rules() -> Rules:
    return Rules(_shipped())


def read_rules(text: str, name: str) -> RuleFile:
    """Read one file of rules; `name` is for the message of an error."""
    try:
        return rules_of(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(f"invalid rule file {name}: {error}; correct the file") from error


def rules_of(tables: Mapping[str, object], name: str) -> RuleFile:
    """Return the rules in tables that were read from a file; `capability` is for the table of capabilities."""
    try:
        file = msgspec.convert({key: value for key, value in tables.items() if key != "capability"}, RuleFile)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"invalid rule file {name}: {error}; correct the file") from error
    for table in TABLES:
        for rule in getattr(file, table):
            _check(table, rule, name)
    return file


def _check(table: Table, rule: Rule, name: str) -> None:
    """Refuse a rule that could match nothing, or that lacks what its table needs."""
    shown = ", ".join(rule.calls or rule.methods) or rule.attribute or rule.gives or rule.store
    needed: dict[Table, tuple[str, ...]] = {
        "type": ("gives",),
        "bind": ("store", "kind"),
        "write": (),
        "callback": ("gives",),
        "attach": (),
        "pin": ("store", "kind"),
    }
    missing = [field for field in needed[table] if not getattr(rule, field)]
    if not (
        rule.calls
        or (rule.on and rule.methods)
        or rule.attribute
        or (table == "type" and (rule.extends or rule.values))
    ):
        missing.append("calls, or on and methods")
    if table in {"write", "callback"} and rule.calls and not (rule.store and rule.kind):
        missing.append("store and kind, since calls give no receiver")
    if missing:
        raise InvalidValue(f"invalid [[{table}]] {shown!r} in {name}: it has no {'; no '.join(missing)}; add it")
    for condition in (*rule.when, *rule.only, *rule.unless):
        if why := _wrong_expression(condition.matches):
            raise InvalidValue(
                f"invalid expression {condition.matches!r} of [[{table}]] {shown!r} in {name}: {why}; correct it"
            )
    for call in rule.calls:
        if prod(group.count(",") + 1 for group in re.findall(r"\{[^{}]*\}", call)) > MOST_NAMES:
            raise InvalidValue(
                f"{brief(call)} of [[{table}]] in {name} stands for more than {MOST_NAMES} names; split it"
            )


def _wrong_expression(text: str) -> str:
    """Return what is wrong with a regular expression. A scanned repository may bring rules: none may run for long."""
    try:
        re.compile(text)
    except re.error as error:
        return str(error)
    if re.search(r"\)[*+{]", text) or len(re.findall(r"(?<!\\)[*+]|\{\d*,", text)) > MOST_REPEATS:
        return f"it repeats a group, or more than {MOST_REPEATS} items"
    return ""
