"""Lowering of Python source files, of any version, with tree-sitter."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from kedge.discovery import ir
from kedge.discovery.scan.python_expressions import DEPTH, Expressions
from kedge.discovery.scan.source_text import normalized
from kedge.support.optional import require

if TYPE_CHECKING:
    from tree_sitter import Node, Parser


def lower_python(path: str, source: bytes) -> ir.Module:
    """Lower one Python file. `errors` are the lines that could not be read; binary data are one error and no body."""
    text = normalized(source)
    if text is None:
        return ir.Module(path, "python", (), (1,))
    root = _parser().parse(text).root_node
    statements = _Statements(text)
    body = statements.body(root.named_children)
    if root.has_error:
        statements.add_errors(root)
    return ir.Module(path, "python", body, tuple(sorted(statements.errors)))


@cache
def _parser() -> Parser:
    tree_sitter: Any = require("tree_sitter", "scan")
    grammar: Any = require("tree_sitter_python", "scan")
    parser: Parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    return parser


class _Statements(Expressions):
    """Lowers the statements of one file."""

    def body(self, nodes: list[Node]) -> tuple[ir.Statement, ...]:
        statements: list[ir.Statement] = []
        for node in nodes:
            if node.type in _LOWER:
                if self.depth >= DEPTH:
                    self.errors.add(self.line(node.start_byte))
                    continue
                self.depth += 1
                _LOWER[node.type](self, node, self.line(node.start_byte), statements)
                self.depth -= 1
            elif node.type == "ERROR":
                statements.extend(self.body(node.named_children))
            elif node.type not in _NO_MEANING:
                statements.append(ir.Do(self.line(node.start_byte), self.expression(node)))
        return tuple(statements)

    def block(self, node: Node | None) -> tuple[ir.Statement, ...]:
        """The statements of a clause's body, or of the only block in it."""
        if node is None:
            return ()
        if node.type == "block":
            return self.body(node.named_children)
        blocks = [child for child in node.named_children if child.type == "block"]
        return self.body(blocks[0].named_children) if blocks else ()

    def add_errors(self, root: Node) -> None:
        """Add the lines where the parser found an error, or missed a token."""
        left = [root]
        while left:
            node = left.pop()
            if node.is_error or node.is_missing:
                first, last = self.line(node.start_byte), self.line(max(node.start_byte, node.end_byte - 1))
                self.errors.update((first, last))
            left.extend(child for child in node.children if child.has_error or child.is_error or child.is_missing)

    # ------------------------------------------------------------ simple statements

    def simple(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        children = [child for child in node.named_children if child.type != "comment"]
        first = children[0] if children else None
        if first is None:
            return
        if first.type == "assignment":
            out.append(self.assignment(first, line))
        elif first.type == "augmented_assignment":
            out.append(self.augmented(first, line))
        else:
            out.append(ir.Do(line, self.group(children, line)))

    def assignment(self, node: Node, line: int) -> ir.Statement:
        targets: list[ir.Expression] = []
        annotation = None
        value: Node | None = node
        while value is not None and value.type == "assignment":
            left = value.child_by_field_name("left")
            if left is not None:
                targets.append(self.expression(left))
            annotation = self.annotation(value.child_by_field_name("type")) or annotation
            value = value.child_by_field_name("right")
        lowered = self.optional(value)
        if isinstance(lowered, ir.Lambda) and targets:
            named = targets[0]
            name = named.id if isinstance(named, ir.Name) else named.name if isinstance(named, ir.Attribute) else ""
            lowered = ir.Lambda(lowered.line, msgspec.structs.replace(lowered.definition, name=name))
        return ir.Assign(line, tuple(targets), lowered, annotation)

    def augmented(self, node: Node, line: int) -> ir.Statement:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None:
            return ir.Do(line, self.other(node, line))
        return ir.Assign(line, (self.expression(left),), self.expression(right), None, self.operator(node)[:-1])

    def type_alias(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None:
            return
        target = self.expression(left)
        target = target.value if isinstance(target, ir.Index) else target
        out.append(ir.Assign(line, (target,), self.expression(right)))

    def do(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        """`raise`, `assert`, and `print` and `exec` of Python 2."""
        parts = self.all(node.named_children)
        if parts:
            out.append(ir.Do(line, parts[0] if len(parts) == 1 else ir.Other(line, parts)))

    def returned(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        parts = [child for child in node.named_children if child.type != "comment"]
        out.append(ir.Return(line, self.group(parts, line) if parts else None))

    def deleted(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        parts = self.all(node.named_children)
        if len(parts) == 1 and isinstance(parts[0], ir.Sequence):
            parts = parts[0].items
        out.append(ir.Delete(line, parts))

    def scope(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        names = tuple([self.text(child) for child in node.named_children if child.type == "identifier"])
        out.append(ir.Scope(line, "global" if node.type == "global_statement" else "nonlocal", names))

    # ------------------------------------------------------------ imports

    def import_modules(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        for child in node.children_by_field_name("name"):
            name, alias = self._aliased(child)
            out.append(ir.Import(line, name, (), alias or name.partition(".")[0]))

    def import_names(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        source = node.child_by_field_name("module_name")
        written = "__future__" if source is None else _compact(self.text(source))
        module = written.lstrip(".")
        names = [self._aliased(child) for child in node.children_by_field_name("name")]
        imported = [ir.Imported(line, name, alias or name) for name, alias in names]
        if any(child.type == "wildcard_import" for child in node.named_children):
            imported.append(ir.Imported(line, "*", "*"))
        out.append(ir.Import(line, module, tuple(imported), "", len(written) - len(module)))

    def _aliased(self, node: Node) -> tuple[str, str]:
        name, alias = node.child_by_field_name("name"), node.child_by_field_name("alias")
        return _compact(self.text(name or node)), "" if alias is None else self.text(alias)

    # ------------------------------------------------------------ compound statements

    def branch(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        test = self.optional(node.child_by_field_name("condition"))
        arms = [ir.Arm(line, test, self.block(node.child_by_field_name("consequence")))]
        for child in node.children_by_field_name("alternative"):
            test = self.optional(child.child_by_field_name("condition"))
            body = child.child_by_field_name("consequence") or child.child_by_field_name("body")
            arms.append(ir.Arm(self.line(child.start_byte), test, self.block(body)))
        out.append(ir.Branch(line, tuple(arms)))

    def match(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        subject = self.group(node.children_by_field_name("subject"), line)
        cases = node.child_by_field_name("body")
        arms: list[ir.Arm] = []
        for case in [] if cases is None else cases.named_children:
            if case.type != "case_clause":
                continue
            at = self.line(case.start_byte)
            patterns = [self._pattern(part) for part in case.named_children if part.type == "case_pattern"]
            guard = case.child_by_field_name("guard")
            test: ir.Expression | None = None
            if len(patterns) != 1:
                test = ir.Binary(at, "match", subject, ir.Sequence(at, "tuple", tuple(_known(patterns, at))))
            elif patterns[0] is not None:
                test = ir.Binary(at, "match", subject, patterns[0])
            if guard is not None:
                guarded = self.inner(guard, at)
                test = guarded if test is None else ir.Choice(at, "and", (test, guarded))
            arms.append(ir.Arm(at, test, self.block(case.child_by_field_name("consequence"))))
        out.append(ir.Branch(line, tuple(arms)))

    def _pattern(self, node: Node) -> ir.Expression | None:
        """A pattern as an expression: `"a" | "b"` is a `Choice`, a class a `Call`. Null for `_`."""
        line = self.line(node.start_byte)
        if self.depth >= DEPTH:
            self.errors.add(line)
            return ir.Other(line)
        self.depth += 1
        parts = [child for child in node.named_children if child.type != "comment"]
        lowered: ir.Expression | None
        if node.type == "case_pattern":
            lowered = self._pattern(parts[0]) if len(parts) == 1 else None
        elif node.type == "union_pattern":
            lowered = ir.Choice(line, "or", tuple(_known([self._pattern(part) for part in parts], line)))
        elif node.type == "as_pattern":
            lowered = self._pattern(parts[0])
        elif node.type == "class_pattern":
            lowered = ir.Call(line, self.expression(parts[0]))
        elif node.type in ("tuple_pattern", "list_pattern"):
            items = [self._pattern(part) for part in parts]
            lowered = ir.Sequence(line, "tuple", tuple(_known(items, line)))
        else:
            lowered = self.expression(node)
        self.depth -= 1
        return lowered

    def loop(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        target = self.optional(node.child_by_field_name("left"))
        values = self.optional(node.child_by_field_name("right") or node.child_by_field_name("condition"))
        body = self.block(node.child_by_field_name("body"))
        otherwise = self.block(node.child_by_field_name("alternative"))
        out.append(ir.Loop(line, target, values, body + otherwise))

    def with_values(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        items: list[tuple[ir.Expression, ir.Expression | None]] = []
        clauses = [child for child in node.named_children if child.type == "with_clause"]
        for item in [part for clause in clauses for part in clause.named_children if part.type == "with_item"]:
            value = item.child_by_field_name("value")
            if value is None:
                continue
            grouped = value.type in ("tuple", "parenthesized_expression") and any(
                part.type == "as_pattern" for part in value.named_children
            )
            for part in value.named_children if grouped else [value]:
                alias = part.child_by_field_name("alias") if part.type == "as_pattern" else None
                items.append((self.expression(part.named_children[0] if alias else part), self.optional(alias)))
        out.append(ir.With(line, tuple(items), self.block(node.child_by_field_name("body"))))

    def attempt(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        handlers: list[tuple[ir.Statement, ...]] = []
        finish: tuple[ir.Statement, ...] = ()
        for child in node.named_children:
            if child.type in ("except_clause", "except_group_clause"):
                handlers.append(self.block(child))
            elif child.type in ("else_clause", "finally_clause"):
                finish += self.block(child)
        out.append(ir.Try(line, self.block(node.child_by_field_name("body")), tuple(handlers), finish))

    # ------------------------------------------------------------ definitions

    def decorated(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        decorators = [child for child in node.named_children if child.type == "decorator"]
        definition = node.child_by_field_name("definition")
        found: list[ir.Statement] = []
        if definition is not None and definition.type in _LOWER:
            _LOWER[definition.type](self, definition, self.line(definition.start_byte), found)
        lowered = tuple([self.inner(decorator, self.line(decorator.start_byte)) for decorator in decorators])
        out.extend(
            msgspec.structs.replace(statement, decorators=lowered)
            for statement in found
            if isinstance(statement, ir.Function | ir.Class)
        )

    def function(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        name, given = node.child_by_field_name("name"), node.child_by_field_name("parameters")
        out.append(
            ir.Function(
                line,
                "" if name is None else self.text(name),
                () if given is None else self.parameters(given),
                self.block(node.child_by_field_name("body")),
                returns=self.annotation(node.child_by_field_name("return_type")),
                is_async=node.children[0].type == "async",
            )
        )

    def class_definition(self, node: Node, line: int, out: list[ir.Statement]) -> None:
        name, given = node.child_by_field_name("name"), node.child_by_field_name("superclasses")
        bases, keywords = ((), ()) if given is None else self.arguments(given)
        body = self.block(node.child_by_field_name("body"))
        out.append(ir.Class(line, "" if name is None else self.text(name), bases, keywords, body))


def _compact(name: str) -> str:
    return "".join(name.split())


def _known(parts: list[ir.Expression | None], line: int) -> list[ir.Expression]:
    return [ir.Other(line) if part is None else part for part in parts]


_NO_MEANING = frozenset(("comment", "pass_statement", "break_statement", "continue_statement", "line_continuation"))
_Lower: TypeAlias = "Callable[[_Statements, Node, int, list[ir.Statement]], None]"
_LOWER: dict[str, _Lower] = {
    "expression_statement": _Statements.simple,
    "import_statement": _Statements.import_modules,
    "import_from_statement": _Statements.import_names,
    "future_import_statement": _Statements.import_names,
    "type_alias_statement": _Statements.type_alias,
    **dict.fromkeys(("raise_statement", "assert_statement", "print_statement", "exec_statement"), _Statements.do),
    "return_statement": _Statements.returned,
    "delete_statement": _Statements.deleted,
    "global_statement": _Statements.scope,
    "nonlocal_statement": _Statements.scope,
    "if_statement": _Statements.branch,
    "match_statement": _Statements.match,
    "for_statement": _Statements.loop,
    "while_statement": _Statements.loop,
    "with_statement": _Statements.with_values,
    "try_statement": _Statements.attempt,
    "decorated_definition": _Statements.decorated,
    "function_definition": _Statements.function,
    "class_definition": _Statements.class_definition,
}
