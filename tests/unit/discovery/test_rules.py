"""Loader of the scan's rules."""

import pytest

from kedge.discovery.scan.rules import Rules, load_rules, name_pattern, read_rules
from kedge.errors import InvalidValue


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("langchain*.**.Chroma", "langchain_chroma.Chroma", True),
        ("langchain*.**.Chroma", "langchain.vectorstores.chroma.Chroma", True),
        ("langchain*.**.Chroma", "langchain.vectorstores.NotChroma", False),
        ("@langchain/**:Chroma", "@langchain/community/vectorstores/chroma:Chroma", True),
        ("@langchain/**:Chroma", "@langchain/community:default", False),
        ("a.B", "a.B", True),
        ("a.B", "aXB", False),
    ],
)
def test_stars_match_parts_of_a_name(pattern: str, name: str, matches: bool) -> None:
    assert bool(name_pattern(pattern).fullmatch(name)) is matches


def test_an_exact_name_comes_before_a_pattern() -> None:
    file = read_rules(
        """
        [[bind]]
        calls = ["a.**.C"]
        store = "general"
        kind = "remote"
        [[bind]]
        calls = ["a.b.C"]
        store = "special"
        kind = "remote"
        """,
        "x.toml",
    )
    assert [rule.store for rule in Rules([file]).calls("bind", "a.b.C")] == ["special", "general"]


def test_a_type_has_the_writes_of_what_it_extends() -> None:
    file = read_rules(
        """
        [[type]]
        gives = "pipeline"
        extends = ["client"]
        [[write]]
        on = "client"
        methods = ["set"]
        """,
        "x.toml",
    )
    assert Rules([file]).methods("write", "pipeline", "set")
    assert not Rules([file]).methods("write", "other", "set")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[bind]", "x.toml"),
        ("[[bind]]\ncalls = ['a.B']\nkind = 'remote'", "no store"),
        ("[[bind]]\nstore = 's'\nkind = 'remote'", "no calls"),
        ("[[bind]]\ncalls = ['a.B']\nstore = 's'\nkind = 'somewhere'", "somewhere"),
        ("[[bind]]\ncalls = ['a.B']\nstore = 's'\nkind = 'remote'\ncolour = 1", "colour"),
        ("[[write]]\ncalls = ['a.b']\nstore = 's'", "store and kind"),
        (
            "[[pin]]\ncalls = ['a']\nstore = 's'\nkind = 'provider'\nunless = [{argument = 0, matches = '('}]",
            "expression",
        ),
    ],
)
def test_an_invalid_file_is_refused_with_its_name(text: str, reason: str) -> None:
    with pytest.raises(InvalidValue, match=r"x\.toml") as caught:
        read_rules(text, "x.toml")
    assert reason in str(caught.value)


def test_the_rules_of_kedge_load() -> None:
    rules = load_rules()
    assert rules.calls("bind", "qdrant_client.QdrantClient")
    assert rules.methods("write", "qdrant.client", "upsert")
