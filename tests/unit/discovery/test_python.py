"""Lowering of Python: the form that later steps of a scan read."""

import random

import msgspec
import pytest

from kedge.discovery.ir import (
    Arm,
    Assign,
    Attribute,
    Binary,
    Branch,
    Call,
    Choice,
    Class,
    Comprehension,
    Constant,
    Do,
    Expression,
    Function,
    Import,
    Imported,
    Index,
    Keyword,
    Lambda,
    Loop,
    Mapping,
    Module,
    Name,
    Not,
    Other,
    Parameter,
    Return,
    Scope,
    Sequence,
    Spread,
    Statement,
    Template,
    Text,
    Try,
    With,
)
from kedge.discovery.scan.python import lower_python


def lower(source: str | bytes) -> Module:
    return lower_python("a.py", source.encode() if isinstance(source, str) else source)


def statement(source: str) -> Statement:
    module = lower(source)
    assert module.errors == ()
    (only,) = module.body
    return only


def value(source: str) -> Expression:
    found = statement(source)
    assert isinstance(found, Do)
    return found.value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.b(1, *c, d=2, **e)", Call(1, Attribute(1, Name(1, "a"), "b"), (Constant(1, 1), Spread(1, Name(1, "c"))),
                                      (Keyword(1, "d", Constant(1, 2)), Keyword(1, "", Name(1, "e"))))),
        ("await a", Name(1, "a")),
        ("(a)", Name(1, "a")),
        ("a[1, 'b']", Index(1, Name(1, "a"), Sequence(1, "tuple", (Constant(1, 1), Text(1, "b"))))),
        ("a or b or c", Choice(1, "or", (Name(1, "a"), Name(1, "b"), Name(1, "c")))),
        ("a if b else c", Choice(1, "if", (Name(1, "a"), Name(1, "c")), Name(1, "b"))),
        ("not a", Not(1, Name(1, "a"))),
        ("a not in b", Binary(1, "not in", Name(1, "a"), Name(1, "b"))),
        ("-1", Constant(1, -1)),
        ("{'a': 1, **b}", Mapping(1, ((Text(1, "a"), Constant(1, 1)), (None, Name(1, "b"))))),
        ("{a: b for a in c if d}", Comprehension(1, Sequence(1, "tuple", (Name(1, "a"), Name(1, "b"))),
                                                 ((Name(1, "a"), Name(1, "c")),), (Name(1, "d"),))),
        ("lambda a: b", Lambda(1, Function(1, "", (Parameter(1, "a"),), (Return(1, Name(1, "b")),)))),
        (r"'\x41\u0042\t\\' 'c'", Text(1, "AB\t\\c")),
        (r"r'\t'", Text(1, "\\t")),
        (r"'\ud800'", Text(1, "\ufffd")),
        ("f'a{b!r:>{w}}{{c}}'", Template(1, (Text(1, "a"), Name(1, "b"), Text(1, "{c}")))),
        ("'a' f'{b}' 'c'", Template(1, (Text(1, "a"), Name(1, "b"), Text(1, "c")))),
        ('f"{a["b"]}"', Template(1, (Index(1, Name(1, "a"), Text(1, "b")),))),
    ],
)  # fmt: skip
def test_expressions(source: str, expected: Expression) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = b = c", Assign(1, (Name(1, "a"), Name(1, "b")), Name(1, "c"))),
        ("a += b", Assign(1, (Name(1, "a"),), Name(1, "b"), None, "+")),
        ("a: 'b.C'", Assign(1, (Name(1, "a"),), None, Attribute(1, Name(1, "b"), "C"))),
        ("a: B[C] | None = d", Assign(1, (Name(1, "a"),), Name(1, "d"),
            Binary(1, "|", Index(1, Name(1, "B"), Name(1, "C")), Constant(1, None)))),
        ("type A[T] = B", Assign(1, (Name(1, "A"),), Name(1, "B"))),
        ("import a.b", Import(1, "a.b", (), "a")),
        ("import a.b as c", Import(1, "a.b", (), "c")),
        ("from ..a import b as c, d", Import(1, "a", (Imported(1, "b", "c"), Imported(1, "d", "d")), "", 2)),
        ("from . import *", Import(1, "", (Imported(1, "*", "*"),), "", 1)),
        ("from __future__ import a", Import(1, "__future__", (Imported(1, "a", "a"),))),
        ("if a: b\nelif c: d\nelse: e", Branch(1, (
            Arm(1, Name(1, "a"), (Do(1, Name(1, "b")),)),
            Arm(2, Name(2, "c"), (Do(2, Name(2, "d")),)),
            Arm(3, None, (Do(3, Name(3, "e")),)),
        ))),
        ("match a:\n  case 'b' | 'c': d\n  case _: e", Branch(1, (
            Arm(2, Binary(2, "match", Name(1, "a"), Choice(2, "or", (Text(2, "b"), Text(2, "c")))),
                (Do(2, Name(2, "d")),)),
            Arm(3, None, (Do(3, Name(3, "e")),)),
        ))),
        ("for a in b: c", Loop(1, Name(1, "a"), Name(1, "b"), (Do(1, Name(1, "c")),))),
        ("while a: b", Loop(1, None, Name(1, "a"), (Do(1, Name(1, "b")),))),
        ("with (a as b, c): d", With(1, ((Name(1, "a"), Name(1, "b")), (Name(1, "c"), None)),
                                     (Do(1, Name(1, "d")),))),
        ("try: a\nexcept B as e: c\nelse: d\nfinally: f", Try(1, (Do(1, Name(1, "a")),), ((Do(2, Name(2, "c")),),),
                                                             (Do(3, Name(3, "d")), Do(4, Name(4, "f"))))),
        ("global a, b", Scope(1, "global", ("a", "b"))),
        ("@a(1)\nclass B(C, k=d): pass", Class(2, "B", (Name(2, "C"),), (Keyword(2, "k", Name(2, "d")),), (),
                                              (Call(1, Name(1, "a"), (Constant(1, 1),)),))),
        ("async def f(a, /, b: C = 1, *d, **e) -> G: return a, b", Function(
            1, "f",
            (Parameter(1, "a"), Parameter(1, "b", Name(1, "C"), Constant(1, 1)),
             Parameter(1, "d", kind="rest"), Parameter(1, "e", kind="keywords")),
            (Return(1, Sequence(1, "tuple", (Name(1, "a"), Name(1, "b")))),), (), Name(1, "G"), True)),
    ],
)  # fmt: skip
def test_statements(source: str, expected: Statement) -> None:
    assert statement(source) == expected


def test_the_line_is_where_the_called_expression_begins() -> None:
    module = lower("a = (\n  b\n  .c(\n    d()\n  )\n)\n")
    (assign,) = module.body
    assert isinstance(assign, Assign)
    assert isinstance(assign.value, Call)
    assert assign.value.line == 2
    assert assign.value.arguments[0].line == 4


@pytest.mark.parametrize(
    "source", [b"\xef\xbb\xbfa = 1\r\nb = '\xc3\xa9'", b"a = 1\rb = '\xe9'", "a = 1\nb = 'é'".encode("utf-16")]
)
def test_any_encoding_and_line_end(source: bytes) -> None:
    assert lower(source).body == (
        Assign(1, (Name(1, "a"),), Constant(1, 1)),
        Assign(2, (Name(2, "b"),), Text(2, "é")),
    )


def test_code_around_an_error_is_read_and_the_error_has_its_line() -> None:
    module = lower("a = 1\n\ndef f(:\n    return g(2)\n\nb = h(3)\n")
    assert Assign(6, (Name(6, "b"),), Call(6, Name(6, "h"), (Constant(6, 3),))) in module.body
    assert module.errors == (3,)


def test_statements_within_an_error_are_read() -> None:
    assert Assign(2, (Name(2, "b"),), Constant(2, 1)) in lower("a = 1\nb = 1\ntry:\n  else:\n").body


def test_binary_data_are_one_error() -> None:
    assert lower(random.Random(1).randbytes(10_000)) == Module("a.py", "python", (), (1,))
    assert lower("a\0 = 1").body == (Assign(1, (Name(1, "a"),), Constant(1, 1)),)


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "[" * 10_000 + "]" * 10_000,
        "x = " + "(" * 10_000,
        "x = " + "a." * 5_000 + "b",
        "x = " + "not " * 5_000 + "a",
        "x: " + "L[" * 1_000 + "]" * 1_000,
        "match x:\n  case " + "[" * 1_000 + "]" * 1_000 + ": a",
        "".join(f"{' ' * depth}if a:\n" for depth in range(300)) + " " * 300 + "b\n",
        "x = " + "a if b else " * 3_000 + "c",
    ],
)
def test_deep_nesting_is_cut_and_named(source: str) -> None:
    module = lower(source)
    assert module.errors
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(module), type=Module) == module


@pytest.mark.parametrize("operator", ["+", "or"])
def test_a_long_chain_is_one_level_deep(operator: str) -> None:
    module = lower("x = " + f" {operator} ".join(f"a({number})" for number in range(5_000)))
    (assign,) = module.body
    assert isinstance(assign, Assign)
    chain = assign.value
    assert isinstance(chain, Other | Choice)
    calls = chain.parts if isinstance(chain, Other) else chain.options
    assert calls == tuple(Call(1, Name(1, "a"), (Constant(1, number),)) for number in range(5_000))
    assert module.errors == ()


def test_a_number_too_large_for_the_cache_is_no_constant() -> None:
    assert value("9" * 30) == Other(1)
    assert value("9" * 5_000) == Other(1)
    assert value("1e999") == Other(1)


def test_a_function_value_has_the_name_it_is_assigned_to() -> None:
    assign = statement("a.f = lambda: b")
    assert isinstance(assign, Assign)
    assert isinstance(assign.value, Lambda)
    assert assign.value.definition.name == "f"
