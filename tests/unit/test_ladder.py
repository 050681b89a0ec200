"""Level entries, rights and presets, without I/O."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import InvalidValue, NotPermitted
from kedge.model.ladder import (
    LevelEntry,
    LevelSource,
    Scope,
    effective,
    loosened,
    matches,
    may_loosen,
    needs_two,
    parse_scope,
    session_hash,
)
from kedge.model.levels import LEVELS, Level, check_level, next_looser, stricter, strictness
from kedge.model.rights import (
    ACTS,
    REVERSIBILITIES,
    Presets,
    Rights,
    Verdict,
    may,
    parse_presets,
    presets_of,
    to_tables,
)

NAMES = st.sampled_from(["a", "b", "c:d", "e-f"])
BOUNDS = st.integers(0, 1_000_000).map(lambda part: part / 1_000_000)
COHORTS = st.tuples(BOUNDS, BOUNDS).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: tuple(sorted(pair)))
SCOPES = st.one_of(
    st.just(Scope("everything")),
    st.builds(Scope, st.sampled_from(["deployment", "feature", "tool", "session"]), NAMES),
    COHORTS.map(lambda pair: Scope("cohort", "", *pair)),
)
ENTRIES = st.lists(st.builds(LevelEntry, st.just("L1"), SCOPES, st.sampled_from(LEVELS)), max_size=6)
ASKED = st.fixed_dictionaries(
    {
        "feature": st.none() | NAMES,
        "session": st.none() | NAMES,
        "tool": st.none() | NAMES,
        "deployments": st.frozensets(NAMES, max_size=2),
    }
)
SCALES = {
    "learn": ["yes", "no"],
    "read": ["yes", "approved", "no"],
    "undoable": ["yes", "approved", "no"],
    "compensable": ["yes", "approved", "no"],
    "irreversible": ["yes", "approved", "no"],
    "generate": ["yes", "cached", "no"],
    "speak": ["yes", "labelled", "canned", "notice"],
}
RIGHTS = st.fixed_dictionaries({name: st.sampled_from(scale) for name, scale in SCALES.items()})


def table(rights: dict[str, str]) -> dict[str, Any]:
    acts = {name: rights[name] for name in REVERSIBILITIES}
    return {"learn": rights["learn"], "act": acts, "generate": rights["generate"], "speak": rights["speak"]}


def is_monotone(ladder: list[dict[str, str]]) -> bool:
    return all(
        scale.index(looser[name]) <= scale.index(tighter[name])
        for looser, tighter in pairwise(ladder)
        for name, scale in SCALES.items()
    )


def rights_of(presets: Presets, level: Level) -> dict[str, str]:
    return {name: str(getattr(presets.of(level), name)) for name in SCALES}


# ── levels ──


def test_the_order_of_the_levels() -> None:
    assert [str(level) for level in LEVELS] == ["full", "supervised", "frozen", "cautious", "fallback", "off"]
    assert stricter(Level.CAUTIOUS, Level.FROZEN) is Level.CAUTIOUS
    assert next_looser(Level.FROZEN) is Level.SUPERVISED
    assert next_looser(Level.FULL) is Level.FULL


@pytest.mark.parametrize("level", ["ful", "", None, 3])
def test_an_unknown_level_is_refused(level: object) -> None:
    with pytest.raises(InvalidValue, match="must be one of full, supervised, frozen, cautious, fallback, off"):
        check_level(level)


# ── scopes ──


@given(SCOPES)
def test_the_text_of_a_scope_reads_back(scope: Scope) -> None:
    assert parse_scope(str(scope)) == parse_scope(scope) == scope


def test_a_scope_may_be_a_mapping() -> None:
    assert str(parse_scope({"feature": "support"})) == "feature:support"
    assert str(parse_scope({"cohort": (0, 0.25)})) == "cohort:0-0.25"


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "support",
        "tool",
        "tool:",
        "everything:x",
        "cohort:0.5-0.2",
        "cohort:0-2",
        "cohort:x",
        "a:b",
        7,
        {},
        "cohort",
    ],
)
def test_an_invalid_scope_is_refused(scope: object) -> None:
    with pytest.raises(InvalidValue, match=r"scope|cohort"):
        parse_scope(scope)


@given(st.lists(BOUNDS, min_size=1, max_size=5), NAMES)
def test_cohorts_that_divide_the_range_divide_the_sessions(bounds: list[float], session: str) -> None:
    edges = sorted({0.0, 1.0, *bounds})
    cohorts = [Scope("cohort", "", low, high) for low, high in pairwise(edges)]
    found = [matches(cohort, feature=None, session=session, tool=None, deployments=()) for cohort in cohorts]
    assert found.count(True) == 1
    assert 0 <= session_hash(session) < 1


# ── the level ──


@given(ENTRIES, ASKED)
def test_the_level_is_the_strictest_of_all_that_match(entries: list[LevelEntry], asked: dict[str, Any]) -> None:
    levels = [entry.level for entry in entries if matches(entry.scope, **asked)]
    assert effective(entries, **asked) == max(levels, key=strictness, default=Level.FULL)
    assert effective(entries, **asked) == effective(entries[::-1], **asked)


@given(ENTRIES, ENTRIES, ASKED)
def test_a_further_entry_never_loosens(
    entries: list[LevelEntry], more: list[LevelEntry], asked: dict[str, Any]
) -> None:
    before, after = effective(entries, **asked), effective(entries + more, **asked)
    assert strictness(after) >= strictness(before)


def test_each_scope_matches_only_its_own() -> None:
    asked: dict[str, Any] = {"feature": "a", "session": "b", "tool": "c", "deployments": {"d"}}
    for scope in ("feature:a", "session:b", "tool:c", "deployment:d", "cohort:0-1", "everything"):
        assert matches(parse_scope(scope), **asked)
        nothing: dict[str, Any] = {"feature": None, "session": None, "tool": None, "deployments": ()}
        assert matches(parse_scope(scope), **nothing) is (scope == "everything")
    for scope in ("feature:b", "session:a", "tool:d", "deployment:c"):
        assert not matches(parse_scope(scope), **asked)


# ── rights ──


def test_the_rights_by_default() -> None:
    expected = {  # learn, read, undoable, compensable, irreversible, generate, speak
        "full": "yes yes yes yes yes yes yes",
        "supervised": "yes yes yes approved approved yes yes",
        "frozen": "no yes yes approved approved yes yes",
        "cautious": "no yes no no no yes labelled",
        "fallback": "no no no no no cached canned",
        "off": "no no no no no no notice",
    }
    assert {str(level): " ".join(rights_of(Presets(), level).values()) for level in LEVELS} == expected


def test_an_effect_without_a_class_counts_as_irreversible() -> None:
    for level in LEVELS:
        assert may(level, "act") is may(level, "act", reversibility="irreversible")


@given(st.lists(RIGHTS, min_size=5, max_size=5), st.booleans())
def test_presets_are_accepted_if_and_only_if_they_are_monotone(ladder: list[dict[str, str]], is_sorted: bool) -> None:
    if is_sorted:  # random ones seldom are
        columns = {name: sorted((rights[name] for rights in ladder), key=SCALES[name].index) for name in SCALES}
        ladder = [{name: columns[name][place] for name in SCALES} for place in range(5)]
    tables = {str(level): table(rights) for level, rights in zip(LEVELS, ladder, strict=False)}
    if is_monotone(ladder):
        presets = presets_of(tables)
        assert [rights_of(presets, level) for level in LEVELS[:5]] == ladder
        assert presets_of(to_tables(presets)) == presets
        assert is_sorted or is_monotone(ladder)
    else:
        with pytest.raises(InvalidValue, match="more than"):
            presets_of(tables)


@given(st.lists(RIGHTS, min_size=5, max_size=5), st.sampled_from(ACTS), st.sampled_from([None, *REVERSIBILITIES]))
def test_tightening_never_widens(ladder: list[dict[str, str]], act: Any, reversibility: Any) -> None:
    tables = {str(level): table(rights) for level, rights in zip(LEVELS, ladder, strict=False)}
    presets = presets_of(tables) if is_monotone(ladder) else Presets()
    order = list(Verdict)
    verdicts = [order.index(may(level, act, reversibility=reversibility, presets=presets)) for level in LEVELS]
    assert verdicts == sorted(verdicts)
    permits = [may(level, act, reversibility=reversibility, presets=presets).permits for level in LEVELS]
    assert permits == sorted(permits, reverse=True)


def test_presets_of_toml() -> None:
    presets = parse_presets('[frozen]\nact = "no"\n[cautious]\nspeak = "labelled"\nact = {read = "no"}\n')
    assert rights_of(presets, Level.FROZEN)["undoable"] == "no"
    with pytest.raises(InvalidValue, match="cautious permits read = 'yes', more than frozen, which has 'no'"):
        parse_presets('[frozen]\nact = "no"\n')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[frozen", "give TOML"),
        ("[frozn]\n", "did you mean 'frozen'"),
        ("frozen = 3", "must be a table"),
        ('[frozen]\nlern = "no"', "did you mean 'learn'"),
        ('[frozen]\nlearn = "maybe"', "learn must be yes, no"),
        ('[frozen]\nact = {undoabel = "no"}', "did you mean 'undoable'"),
        ('[off]\nspeak = "yes"', "off permits nothing"),
        ('[full]\nlearn = "no"', "supervised permits learn = 'yes', more than full"),
    ],
)
def test_invalid_presets_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        parse_presets(text)


def test_rights_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Rights().learn = Verdict.NO  # type: ignore[misc]


# ── authority ──


def entry(level: str, source: str = "person", by: str = "ann") -> LevelEntry:
    return LevelEntry("L1", parse_scope("feature:support"), Level(level), LevelSource(source), by)


def test_a_person_may_loosen_what_anything_set() -> None:
    for source in LevelSource:
        may_loosen(entry("off", source), source=LevelSource.PERSON, by="bob")


def test_only_the_source_loosens() -> None:
    for source in set(LevelSource) - {LevelSource.PERSON}:
        for other in set(LevelSource) - {source}:
            with pytest.raises(NotPermitted, match="only what set it, or a person"):
                may_loosen(entry("frozen", other, "x"), source=source, by="x")
    may_loosen(entry("frozen", "hook", "monitor"), source=LevelSource.HOOK, by="monitor")
    with pytest.raises(NotPermitted, match="only what set it"):
        may_loosen(entry("frozen", "hook", "monitor"), source=LevelSource.HOOK, by="other")


def test_the_guard_takes_one_rung_at_a_time_and_never_from_the_lowest_two_or_after_a_rollback() -> None:
    guard = LevelSource.GUARD
    left = loosened(entry("cautious", "guard"), source=guard)
    assert left is not None
    assert left.level is Level.FROZEN
    assert loosened(entry("supervised", "guard"), source=guard) is None
    assert loosened(entry("cautious", "guard"), source=LevelSource.PERSON) is None
    may_loosen(entry("cautious", "guard"), source=guard)
    for level in ("fallback", "off"):
        with pytest.raises(NotPermitted, match="a person lifts fallback and off"):
            may_loosen(entry(level, "guard"), source=guard)
    with pytest.raises(NotPermitted, match="rolled back"):
        may_loosen(entry("frozen", "guard"), source=guard, latched=True)


def test_what_wants_two_persons() -> None:
    wanted = {
        (level, source)
        for level in LEVELS
        for source in LevelSource
        if needs_two(entry(level, source), source=LevelSource.PERSON)
    }
    assert wanted == {
        (level, source)
        for level in LEVELS
        for source in LevelSource
        if level in ("fallback", "off") or source == "guard"
    }
    assert not needs_two(entry("frozen", "guard"), source=LevelSource.GUARD)
