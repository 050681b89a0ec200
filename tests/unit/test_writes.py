"""Names, values and digests: what the journal accepts, and that it returns them unchanged."""

import hmac
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import InvalidValue
from kedge.model.checks import check_name
from kedge.model.names import NAME_BYTES_MAX
from kedge.model.writes import VALUE_BYTES_MAX, VectorBatch, decode, digest, encode

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
jsons = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)), max_leaves=20)


@given(jsons)
def test_a_json_value_comes_back_as_it_was(value: Any) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


@given(st.binary())
def test_bytes_come_back_as_bytes(value: bytes) -> None:
    assert decode(encode(value)) == value
    assert decode(encode(memoryview(value))) == value
    assert decode(encode(bytearray(value))) == value


def test_bytes_and_text_are_never_confused() -> None:
    assert encode(b"x") != encode("x")
    assert decode(None) is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (math.nan, "value.*nan.*JSON"),
        ({"score": [1.0, math.inf]}, "value.*inf.*JSON"),
        ({"tags": {1, 2}}, r"value\['tags'\] is \{1, 2\} of type set"),
        ({1: "a"}, "has the key 1, not a string"),
        ([{"a": (1, 2j)}], r"value\[0\]\['a'\]\[1\] is 2j of type complex"),
        (object(), "of type object, neither JSON nor bytes"),
        ("\ud800", "lone surrogate"),
        (["ok", "\udfff"], "lone surrogate"),
        ({"\udabc": 1}, "lone surrogate"),
    ],
)
def test_what_is_no_json_is_refused_and_named(value: Any, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        encode(value)


def test_a_number_too_long_to_be_read_back_is_refused() -> None:
    with pytest.raises(InvalidValue, match="is not JSON"):
        encode(10**5000)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def test_deep_nesting_is_refused_whatever_the_caller_s_stack() -> None:
    assert decode(encode(nested(100))) == nested(100)
    for depth in (1_000, 100_000):
        with pytest.raises(InvalidValue, match="nested more than 100 deep"):
            encode(nested(depth))


def test_what_was_taken_is_readable_from_a_deep_stack() -> None:
    deepest = max(depth for depth in range(1, 400) if accepted(nested(depth)))
    payload = encode(nested(deepest))

    def dive(frames: int) -> Any:
        return decode(payload) if frames == 0 else dive(frames - 1)

    assert dive(500) == nested(deepest)


def accepted(value: Any) -> bool:
    try:
        encode(value)
    except InvalidValue:
        return False
    return True


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidValue, match="nested more than 100 deep"):
        encode(loop)


def test_8_mib_fit_and_no_byte_more() -> None:
    assert len(encode(b"x" * VALUE_BYTES_MAX)) == VALUE_BYTES_MAX + 1  # with the byte that names its type
    for value in (b"x" * (VALUE_BYTES_MAX + 1), "x" * VALUE_BYTES_MAX, ["é" * (VALUE_BYTES_MAX // 2)]):
        with pytest.raises(InvalidValue, match="more than 8,388,608; keep it in a file or object store"):
            encode(value, "the document 'd'")


@given(texts.filter(lambda t: t.isprintable() and 0 < len(t.encode()) <= NAME_BYTES_MAX))
def test_a_printable_name_is_a_name(name: str) -> None:
    assert check_name("the key", name) == name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (7, "must be a string, not 7 .int."),
        (None, "must be a string, not None"),
        (b"key", "must be a string, not b'key'"),
        ("", "is empty"),
        ("a\x00b", r"holds the control character '\\x00'"),
        ("tab\t", r"holds the control character '\\t'"),
        ("é\x9f", r"holds the control character '\\x9f'"),
        ("\ud800", "holds the control character"),
        ("x" * 2_049, "has 2,049 bytes of UTF-8, more than 2,048"),
        ("é" * 1_025, "has 2,050 bytes of UTF-8, more than 2,048"),
        ("a\x10b", r"holds the control character '\\x10'"),
        ("\x100041", r"holds the control character '\\x10'"),
    ],
)
def test_a_name_that_no_key_may_have_is_refused(name: object, told: str) -> None:
    with pytest.raises(InvalidValue, match=f"the key .*{told}"):
        check_name("the key", name)


def test_a_prefix_may_be_empty() -> None:
    assert check_name("the prefix", "", empty=True) == ""


payloads = jsons.map(encode)


@given(st.binary(min_size=16, max_size=16), payloads, payloads)
def test_a_digest_depends_on_the_salt_and_the_content(salt: bytes, one: bytes, other: bytes) -> None:
    assert len(digest(salt, one)) == 32
    assert (digest(salt, one) == digest(salt, other)) == (one == other)
    assert digest(salt, one) != digest(bytes([salt[0] ^ 1]) + salt[1:], one)
    assert digest(salt, one, b"\1\2\3\4") != digest(salt, one)


@given(st.binary(min_size=16, max_size=16), st.binary(), st.binary())
def test_a_digest_is_the_hmac_of_rfc_2104(salt: bytes, payload: bytes, vector: bytes) -> None:
    framed = len(payload).to_bytes(8, "big") + payload + vector
    assert digest(salt, payload, vector) == hmac.digest(salt, framed, "sha256")


def test_a_delete_has_a_digest_of_its_own() -> None:
    assert digest(b"s" * 16, None) not in {digest(b"s" * 16, content) for content in (encode(None), b"", b"\0")}


def test_a_vector_batch_splits_into_its_rows() -> None:
    assert VectorBatch("space", 2, bytes(range(24))).split() == [bytes(range(n, n + 8)) for n in (0, 8, 16)]
