"""Codec: Python values that JSON cannot hold, stored as JSON under the tag of a declared type.

A stored value that holds such values begins with `t` in place of `j`. In it, `{"$type": tag, "value": …}` stands for a
value of that tag's type, and an object that has the key `$type` itself is wrapped under the empty tag. The data name
tags, never classes: which type a tag stands for, only the process says that reads it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from kedge.errors import InvalidValue, KedgeError, nearest
from kedge.model.checks import check_callables, check_name
from kedge.model.writes import VALUE_BYTES_MAX, decode, encode
from kedge.support.display import brief

TYPE, VALUE = "$type", "value"
_TAGGED = b"t"
_OBJECT = ""  # the tag of an object that has the key `$type` itself
_CONTAINERS = (dict, list, tuple)
Typed = type | tuple[type, Callable[[Any], Any], Callable[[Any], Any]]


class _Kind(NamedTuple):
    tag: str
    kind: type
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Codec:
    """Types beyond JSON that stored values may hold: `kedge.open(…, codec=kedge.Codec({"time": datetime}))`.

    `types` maps tags to types: date and time types, `Decimal`, `UUID`, enums, dataclasses, msgspec and pydantic models;
    or to (type, encode, decode) for any other, where `encode` returns a value that JSON, or the codec, can hold.
    """

    def __init__(self, types: Mapping[str, Typed]) -> None:
        if not isinstance(types, Mapping):
            raise InvalidValue(f"invalid types {brief(types)} of a codec: must be a mapping of tags to types")
        kinds = [_kind(check_name("the tag", tag), given) for tag, given in types.items()]
        self._by_tag = {kind.tag: kind for kind in kinds}
        self._by_type = {kind.kind: kind for kind in kinds}
        if len(self._by_type) < len(kinds):
            raise InvalidValue(f"invalid types {brief(types)} of a codec: a type has two tags; keep one")

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Codec of {', '.join(sorted(self._by_tag))}>"

    def encode(self, value: object, what: str, *, most: int = VALUE_BYTES_MAX) -> bytes:
        """Return the stored bytes of a value, or raise `InvalidValue`."""
        tagged = _Tagging(self._by_type, what)
        plain = tagged.plain(value)
        if not tagged.is_used:
            return encode(value, what, most=most)
        return _TAGGED + encode(plain, what, most=most)[1:]

    def decode(self, payload: bytes | None) -> Any:
        """Return the value that was stored, as the types that its tags stand for here."""
        value = decode(payload)
        return self._typed(value) if payload is not None and payload[:1] == _TAGGED else value

    def _typed(self, plain: Any) -> Any:
        if isinstance(plain, list):
            return [self._typed(item) for item in plain]
        if not isinstance(plain, dict):
            return plain
        tag = plain.get(TYPE)
        if tag is None:
            return {name: self._typed(item) for name, item in plain.items()}
        if tag == _OBJECT:
            return {name: self._typed(item) for name, item in plain[VALUE].items()}
        kind = self._by_tag.get(tag)
        if kind is None:
            raise InvalidValue(
                f"a stored value has the type tag {tag!r}{nearest(tag, self._by_tag)}, which this process's codec does "
                "not know; add it to codec= of kedge.open"
            )
        value = self._typed(plain[VALUE])
        try:
            return kind.decode(value)
        except KedgeError:
            raise
        except Exception as error:  # a user's function may raise anything
            raise InvalidValue(
                f"a stored value of the type tag {tag!r}, {brief(value)}, does not decode as {kind.kind.__name__} "
                f"({type(error).__name__}: {error}); give the tag a decoder that takes old values too"
            ) from error


def encode_with(codec: Codec | None, value: object, what: str, *, most: int = VALUE_BYTES_MAX) -> bytes:
    """Return the stored bytes of a value; without a codec, it must be JSON or bytes."""
    return encode(value, what, most=most) if codec is None else codec.encode(value, what, most=most)


def decode_with(codec: Codec | None, payload: bytes | None) -> Any:
    """Return a stored value; without a codec, a typed one as the JSON that it is stored as."""
    return decode(payload) if codec is None else codec.decode(payload)


class _Tagging:
    """One value on its way to JSON."""

    def __init__(self, kinds: Mapping[type, _Kind], what: str) -> None:
        self._kinds, self._what = kinds, what
        self.is_used = False

    def plain(self, value: Any) -> Any:
        """Return a value with tagged objects in place of typed values; the values that JSON cannot hold stay."""
        kind = self._kinds.get(type(value))
        if kind is not None:
            self.is_used = True
            return {TYPE: kind.tag, VALUE: self.plain(self._encoded(kind, value))}
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        if isinstance(value, dict):
            items = {name: self.plain(item) for name, item in value.items()}
            return {TYPE: _OBJECT, VALUE: items} if TYPE in items else items
        return value

    def _encoded(self, kind: _Kind, value: Any) -> Any:
        try:
            encoded = kind.encode(value)
        except Exception as error:  # a user's function may raise anything
            raise InvalidValue(
                f"{self._what} has a {kind.kind.__name__} that its encoder refuses ({type(error).__name__}: {error}); "
                f"give the tag {kind.tag!r} an encoder that takes it"
            ) from error
        if type(encoded) is kind.kind:
            raise InvalidValue(
                f"the encoder of the tag {kind.tag!r} returned a {kind.kind.__name__} again; return JSON"
            )
        return encoded


def _kind(tag: str, given: Any) -> _Kind:
    if isinstance(given, tuple) and len(given) == 3 and isinstance(given[0], type):  # noqa: PLR2004 - type, encode, decode
        check_callables(encode=given[1], decode=given[2])
        found = _Kind(tag, *given)
    elif isinstance(given, type):
        found = _Kind(tag, given, *_functions(tag, given))
    else:
        raise InvalidValue(f"invalid type {brief(given)} of the tag {tag!r}: must be a type, or (type, encode, decode)")
    if issubclass(found.kind, _CONTAINERS) and found.kind in _CONTAINERS:
        raise InvalidValue(f"invalid type {found.kind.__name__} of the tag {tag!r}: JSON holds it; give another type")
    return found


def _functions(tag: str, kind: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return how values of a type are encoded and decoded, or raise `InvalidValue` where the caller must say it."""
    validate, dump = getattr(kind, "model_validate", None), getattr(kind, "model_dump", None)
    if callable(validate) and callable(dump):  # pydantic
        return lambda value: value.model_dump(mode="json"), validate
    try:
        msgspec.json.Decoder(kind)
        is_known = not _is_custom(kind)
    except TypeError:
        is_known = False
    if not is_known:
        raise InvalidValue(
            f"invalid type {kind.__name__} of the tag {tag!r}: its values do not say how they are stored; give "
            f"({kind.__name__}, encode, decode)"
        )
    return msgspec.to_builtins, lambda value: msgspec.convert(value, kind)


def _is_custom(kind: type) -> bool:
    """Return whether msgspec takes a type for one that only hooks could encode."""
    return isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType)
