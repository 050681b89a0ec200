"""Escaped names of hosts: every text has one, no two texts have the same, and none collides with a name in use."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import kedge
from kedge.model.checks import check_name, is_name
from kedge.model.names import ESCAPE, NAME_BYTES_MAX

nasty = st.one_of(
    st.characters(categories=["Cc", "Cs"]), st.sampled_from([ESCAPE, "0", "1", "d", "a", "é", "\U0010ffff"])
)
texts = st.one_of(st.text(st.characters()), st.text(nasty))  # with surrogates, which `st.text()` leaves out


@given(texts)
def test_every_text_has_a_name_that_stands_for_it(text: str) -> None:
    name = kedge.escape_name(text)
    assert check_name("the key", name) == name
    assert kedge.unescape_name(name) == text
    name.encode()


@given(texts, texts)
def test_two_texts_have_two_names_and_a_prefix_stays_one(one: str, other: str) -> None:
    assert (kedge.escape_name(one) == kedge.escape_name(other)) == (one == other)
    if one:
        assert kedge.escape_name(one + other).startswith(kedge.escape_name(one))


@given(texts.filter(lambda text: text and not any(unicodedata.category(c) in {"Cc", "Cs"} for c in text)))
def test_a_name_that_was_valid_before_stays_as_it_is(name: str) -> None:
    assert kedge.escape_name(name) == name == kedge.unescape_name(name)


pieces = st.sampled_from([ESCAPE, "\x10001b", "\x100041", "\x10d800", "\x10D800", "0010", "-", "x"])


@example("\x10\x10001b-")
@given(st.one_of(texts, st.lists(pieces).map("".join)))
def test_what_is_a_name_is_the_name_of_one_text(name: str) -> None:
    if is_name(name) and ("\x10-" not in name or name == "\x10-"):
        assert kedge.escape_name(kedge.unescape_name(name)) == name
    else:
        with pytest.raises(kedge.InvalidValue, match="cannot unescape"):
            kedge.unescape_name(name)


@given(texts, texts)
def test_names_can_be_joined_to_longer_ones(one: str, other: str) -> None:
    joined = f"{kedge.escape_name(one)}/{kedge.escape_name(other)}"
    assert check_name("the key", joined) == joined
    if not one or not other:
        with pytest.raises(kedge.InvalidValue, match="cannot unescape"):
            kedge.unescape_name(joined)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "\x10-"),
        ("a\x00b", "a\x100000b"),
        ("\x10", "\x100010"),
        ("\x9b31m", "\x10009b31m"),
        ("\udc80", "\x10dc80"),
        ("thread-1", "thread-1"),
    ],
)
def test_the_form_is_fixed_for_ever(text: str, name: str) -> None:
    assert kedge.escape_name(text) == name
    assert kedge.unescape_name(name) == text


@pytest.mark.parametrize("text", ["x" * NAME_BYTES_MAX, "é" * (NAME_BYTES_MAX // 2), "\n" + "x" * (NAME_BYTES_MAX - 5)])
def test_2_kb_fit_and_no_byte_more(text: str) -> None:
    assert kedge.unescape_name(kedge.escape_name(text)) == text
    with pytest.raises(kedge.InvalidValue, match="has 2,049 bytes of UTF-8, more than 2,048; use a shorter one"):
        kedge.escape_name(text + "x")


@pytest.mark.parametrize("value", [None, 7, b"key"])
def test_what_is_no_text_has_no_name(value: Any) -> None:
    with pytest.raises(kedge.InvalidValue, match=r"cannot escape .*convert it first"):
        kedge.escape_name(value)
    with pytest.raises(kedge.InvalidValue, match="cannot unescape"):
        kedge.unescape_name(value)
