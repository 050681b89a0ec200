"""Lowering of JavaScript and TypeScript: what the later steps of a scan read of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from kedge.discovery import ir
from kedge.discovery.scan.javascript import lower_javascript, reason_to_skip


def lower(source: str, path: str = "a.ts") -> tuple[ir.Statement, ...]:
    language: ir.Language = "javascript" if path.endswith(".js") else "typescript"
    return lower_javascript(path, source.encode(), language).body


def nodes(value: Any) -> Iterator[ir.Node]:
    """All nodes at or below a value, in source order."""
    if isinstance(value, tuple):
        for item in value:
            yield from nodes(item)
    elif isinstance(value, msgspec.Struct):
        if isinstance(value, ir.Node):
            yield value
        for field in value.__struct_fields__:
            yield from nodes(getattr(value, field))


def dotted(value: ir.Expression | None) -> str:
    """`a.b` of names and attributes, `f()` of calls; a short form to compare."""
    if isinstance(value, ir.Name):
        return value.id
    if isinstance(value, ir.Attribute):
        return f"{dotted(value.value)}.{value.name}"
    if isinstance(value, ir.Call):
        return f"{dotted(value.function)}()"
    if isinstance(value, ir.Index):
        return f"{dotted(value.value)}[{dotted(value.key)}]"
    if isinstance(value, ir.Binary):
        return f"{dotted(value.left)} {value.operator} {dotted(value.right)}"
    if isinstance(value, ir.Choice):
        return f" {value.operator} ".join(dotted(option) for option in value.options)
    return type(value).__name__


def functions(source: str) -> list[str]:
    return [node.name for node in nodes(lower(source)) if isinstance(node, ir.Function)]


def imports(source: str) -> list[tuple[str, list[tuple[str, str]], str, bool]]:
    return [
        (node.module, [(name.name, name.alias) for name in node.names], node.alias, node.exported)
        for node in lower(source)
        if isinstance(node, ir.Import)
    ]


def exports(source: str) -> list[tuple[str, str]]:
    return [(node.name, dotted(node.value)) for node in lower(source) if isinstance(node, ir.Export)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('import A, { B as C, type D } from "x"', [("x", [("default", "A"), ("B", "C"), ("D", "D")], "", False)]),
        ('import type { A } from "x"', [("x", [("A", "A")], "", False)]),
        ('import * as A from "x"', [("x", [], "A", False)]),
        ('import A, * as B from "x"', [("x", [], "B", False), ("x", [("default", "A")], "", False)]),
        ('import A = require("x")', [("x", [], "A", False)]),
        ('import "x"', [("x", [], "", False)]),
        ('const A = require("x")', [("x", [], "A", False)]),
        ('const { A, B: C } = require("x")', [("x", [("A", "A"), ("B", "C")], "", False)]),
        ('const A = require("x").B', [("x", [("B", "A")], "", False)]),
        ('const { A } = await import("x")', [("x", [("A", "A")], "", False)]),
        ('const A = (await import("x")).default', [("x", [("default", "A")], "", False)]),
        ('export { a, b as c } from "x"', [("x", [("a", "a"), ("b", "c")], "", True)]),
        ('export * from "x"', [("x", [("*", "*")], "", True)]),
        ('export * as n from "x"', [("x", [], "n", True)]),
    ],
)
def test_every_form_of_import_is_one(source: str, expected: object) -> None:
    assert imports(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("export const a = 1, { b, c: [d] } = x", [("a", "a"), ("b", "b"), ("d", "d")]),
        ("export { a as b }", [("b", "a")]),
        ("export async function POST() {}", [("POST", "POST")]),
        ("export default function f() {}", [("default", "f")]),
        ("export default a.b", [("default", "a.b")]),
        ("export default class A {}", [("default", "A")]),
        ("module.exports = { a, b: c }", [("default", "Mapping"), ("a", "a"), ("b", "c")]),
        ("module.exports.a = b", [("a", "b")]),
        ("exports.a = b", [("a", "b")]),
        ("other.a = b", []),
    ],
)
def test_every_form_of_export_is_one(source: str, expected: object) -> None:
    assert exports(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("export async function POST() {}", ["POST"]),
        ("export default async function () {}", ["default"]),
        ("const a = async () => 1", ["a"]),
        ("const a = useCallback(async () => 1, [])", ["a"]),
        ("const a = router({ b: procedure.input(c).mutation(async () => 1) })", ["a.b"]),
        ("const a = await Promise.all(b.map(async () => 1))", [""]),
        ("const a = await transaction(async () => 1)", [""]),
        ("const a = new Promise(resolve => resolve())", [""]),
        ("useEffect(() => { const b = () => 1 })", ["", "b"]),
        ("const a = { b() {}, c: () => 1, d: { e: function () {} } }", ["a.b", "a.c", "a.d.e"]),
        ("const a = tool({ execute: async () => 1 })", ["a.execute"]),
        ("f({ execute: async () => 1 })", ["execute"]),
        ("a.b = function () {}", ["b"]),
        ("class A { b = async () => 1; static c() {} constructor() {} }", ["b", "c", "constructor"]),
    ],
)
def test_a_function_has_the_name_that_a_reader_gives_it(source: str, expected: list[str]) -> None:
    assert functions(source) == expected


@pytest.mark.parametrize(
    "source", ["await a.b(c)", "a!.b!(c!)", "(a as T).b(c)", "a?.b?.(c)", "(<T>a).b(c)", "(a satisfies T).b(c)"]
)
def test_what_does_not_change_a_value_leaves_no_trace(source: str) -> None:
    (statement,) = lower(source)
    assert isinstance(statement, ir.Do)
    assert dotted(statement.value) == "a.b()"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("A", "A"),
        ("n.A", "n.A"),
        ("A | B | null", "A | B | Constant"),
        ("Promise<A>", "A"),
        ("Promise<A[]>", "Array[A]"),
        ("Map<string, A>", "Map[Sequence]"),
        ('A["b"]', "A.b"),
        ("ReturnType<typeof f>", "ReturnType[typeof()]"),
        ("{ a: A }", "Mapping"),
    ],
)
def test_a_type_keeps_the_classes_it_names(annotation: str, expected: str) -> None:
    (statement,) = lower(f"let a: {annotation}")
    assert isinstance(statement, ir.Assign)
    assert dotted(statement.annotation) == expected


def test_a_parameter_with_a_modifier_is_a_field() -> None:
    (statement,) = lower("class A { constructor(private readonly a: B, c: D) { super(c) } }")
    assert isinstance(statement, ir.Class)
    (constructor,) = statement.body
    assert isinstance(constructor, ir.Function)
    first, second = constructor.body
    assert isinstance(first, ir.Assign)
    assert isinstance(second, ir.Do)
    assert (dotted(first.targets[0]), dotted(first.value), dotted(first.annotation)) == ("self.a", "a", "B")
    assert dotted(second.value) == "super().constructor()"


def test_members_of_a_class_tell_what_they_are() -> None:
    (statement,) = lower("class A extends b.C<D> implements E { static a = 1; get f() { return this.a } #g?: H }")
    assert isinstance(statement, ir.Class)
    assert [dotted(base) for base in statement.bases] == ["b.C", "E"]
    field, getter, private = statement.body
    assert isinstance(field, ir.Assign)
    assert isinstance(getter, ir.Function)
    assert isinstance(private, ir.Assign)
    assert [dotted(decorator) for decorator in getter.decorators] == ["property"]
    assert (dotted(private.targets[0]), dotted(private.annotation)) == ("#g", "H")


def test_types_with_members_are_classes() -> None:
    for source in ("interface A extends B { c: D }", "type A = B & { c: D }"):
        (statement,) = lower(source)
        assert isinstance(statement, ir.Class)
        assert [dotted(base) for base in statement.bases] == ["B"]
        assert [dotted(field.annotation) for field in statement.body if isinstance(field, ir.Assign)] == ["D"]


def test_alternatives_are_choices() -> None:
    values = {"a ?? b || c": "a or b or c", "a && b": "a and b", "t ? a : b": "a if b"}
    for source, expected in values.items():
        (statement,) = lower(f"x = {source}")
        assert isinstance(statement, ir.Assign)
        assert dotted(statement.value) == expected
    (statement,) = lower("x ??= a")
    assert isinstance(statement, ir.Assign)
    assert dotted(statement.value) == "x or a"


def test_a_negation_is_kept() -> None:
    (statement,) = lower("if (!a) b()")
    assert isinstance(statement, ir.Branch)
    assert statement.arms[0].test == ir.Not(1, ir.Name(1, "a"))


def test_labels_of_one_body_are_one_arm() -> None:
    (branch,) = lower("switch (a) { case 1: case 2: f(); break; default: g() }")
    assert isinstance(branch, ir.Branch)
    assert [dotted(arm.test) for arm in branch.arms] == ["a match Constant or a match Constant", "NoneType"]


def test_else_if_is_an_arm() -> None:
    (branch,) = lower("if (a) b(); else if (c) { d() } else e()")
    assert isinstance(branch, ir.Branch)
    assert [dotted(arm.test) for arm in branch.arms] == ["a", "c", "NoneType"]


def test_a_hole_keeps_the_positions_of_a_pattern() -> None:
    (statement,) = lower("const [, a] = useState()")
    assert isinstance(statement, ir.Assign)
    (target,) = statement.targets
    assert isinstance(target, ir.Sequence)
    assert [dotted(item) for item in target.items] == ["Other", "a"]


def test_strings_are_decoded() -> None:
    (statement,) = lower(r"x = `INSERT ${a} \n b` + 'c\'d'")
    assert isinstance(statement, ir.Assign)
    assert [node.value for node in nodes(statement.value) if isinstance(node, ir.Text)] == ["INSERT ", " \n b", "c'd"]


def test_calls_within_jsx_are_found() -> None:
    source = "const A = () => <B c={d()} onClick={() => e()}>{f.map(g => <H>{i()}</H>)} text</B>"
    for path in ("a.tsx", "a.js"):
        called = [dotted(node.function) for node in nodes(lower(source, path)) if isinstance(node, ir.Call)]
        assert called == ["d", "e", "f.map", "i"]


def test_a_call_begins_where_its_receiver_does() -> None:
    (statement,) = lower("const a =\n  await b\n    .c()\n    .d()")
    assert [node.line for node in nodes(statement) if isinstance(node, ir.Call)] == [2, 2]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "a.vue",
            "<template>\n  <p>{{ x }}\n</template>\n<script setup lang='ts'>\nf(1 as T)\n</script>\n<style></style>",
        ),
        ("a.svelte", "<script context='module'>\n</script>\n\n<script>\nf(1)</script>\n<p>{g()}</p>"),
        ("a.astro", "---\n\n\n\nf(1)\n---\n<p>{g()}</p>"),
    ],
)
def test_the_scripts_of_a_component_keep_their_lines(path: str, source: str) -> None:
    module = lower_javascript(path, source.encode(), "typescript")
    calls = [(dotted(node.function), node.line) for node in nodes(module.body) if isinstance(node, ir.Call)]
    assert (calls, module.errors) == ([("f", 5)], ())


def test_broken_code_gives_the_rest_and_its_lines() -> None:
    module = lower_javascript("a.ts", b"const a = f()\nconst b = ) g;\nconst c = h()", "typescript")
    assert next(node.function for node in nodes(module.body) if isinstance(node, ir.Call)) == ir.Name(1, "f")
    assert "h" in [dotted(node.function) for node in nodes(module.body) if isinstance(node, ir.Call)]
    assert module.errors == (2,)


def test_an_unfinished_file_gives_the_statements_it_has() -> None:
    statements = lower("class A { b() { const c = d()\nif (e) {\n")
    assert ir.Name(1, "d") in [node.function for node in nodes(statements) if isinstance(node, ir.Call)]
    assert "c" in [dotted(node.targets[0]) for node in nodes(statements) if isinstance(node, ir.Assign)]


def test_deep_code_ends_with_its_line_named() -> None:
    deep = [
        "(" * 5000 + "1" + ")" * 5000,
        "{" * 5000 + "}" * 5000,
        "a" + ".b()" * 5000,
        "x = " + " + ".join(["1"] * 20_000),
        "let a: " + "A<" * 5000 + "B" + ">" * 5000,
        "x = " + "[" * 5000 + "]" * 5000,
    ]
    for source in deep:
        module = lower_javascript("a.ts", b"\n" + source.encode(), "typescript")
        assert module.errors in {(2,), ()}
    assert lower_javascript("a.ts", deep[0].encode(), "typescript").errors == (1,)


def test_generated_files_are_skipped_with_a_reason() -> None:
    assert reason_to_skip("a.js", b"x=1;" * 10_000) == "minified JavaScript: 40000 bytes a line"
    assert reason_to_skip("a.min.js", b"x") == "minified JavaScript"
    assert reason_to_skip("a.ts", b"const a = 1\n" * 10_000) == ""
    assert reason_to_skip("a.ts", b"const a = '" + b"x" * 19_000 + b"'") == ""
