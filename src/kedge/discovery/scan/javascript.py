"""Lowering of JavaScript and TypeScript files to the intermediate representation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from kedge.discovery import ir
from kedge.discovery.scan.javascript_exports import bound, commonjs, imported, reexport, specifiers
from kedge.discovery.scan.javascript_functions import Definitions
from kedge.discovery.scan.javascript_syntax import line_of, name_of_target, string_of, text_of
from kedge.discovery.scan.javascript_types import members, type_of
from kedge.discovery.scan.javascript_values import MAX_DEPTH
from kedge.support.optional import require

if TYPE_CHECKING:
    from tree_sitter import Node

_COMPONENTS: Final = (".vue", ".svelte", ".astro")
_SCRIPT: Final = re.compile(rb"<script\b[^<>]*>|\A\s*---[ \t]*\n")
_MINIFIED_BYTES: Final = 20_000
_MINIFIED_LINE: Final = 500
_EMPTY: Final = frozenset(
    {
        "comment",
        "empty_statement",
        "break_statement",
        "continue_statement",
        "debugger_statement",
        "function_signature",
        "hash_bang_line",
        "identifier",
        "property_identifier",
        "type_identifier",
        "import_alias",
    }
)


def reason_to_skip(path: str, source: bytes) -> str:
    """Return why a file is not worth lowering, else "": minified and bundled code is the source of another file."""
    if path.endswith((".min.js", ".min.mjs", ".bundle.js")):
        return "minified JavaScript"
    lines = source.count(b"\n") + 1
    if len(source) > _MINIFIED_BYTES and len(source) / lines > _MINIFIED_LINE:
        return f"minified JavaScript: {len(source) // lines} bytes a line"
    return ""


def lower_javascript(path: str, source: bytes, language: ir.Language) -> ir.Module:
    """Lower one file. `path` is relative to the root of the scan. Broken code gives what can be read of it."""
    root = _parser("tsx" if path.endswith(".tsx") else language).parse(script_of(path, source)).root_node
    lowering = Statements()
    body = lowering.block(root)
    errors = {line_of(node) for node in _broken(root)} | lowering.too_deep
    return ir.Module(path, language, body, tuple(sorted(errors)))


def script_of(path: str, source: bytes) -> bytes:
    """Return the code of a file: of a component, its scripts, on the lines where they stand."""
    if not path.endswith(_COMPONENTS):
        return source
    kept: list[bytes] = []
    end = 0
    while (opened := _SCRIPT.search(source, end)) is not None:
        after = source.find(b"\n---" if opened[0].endswith(b"\n") else b"</script>", opened.end() - 1)
        if after < 0:
            break
        kept += [b"\n" * source.count(b"\n", end, opened.end()), source[opened.end() : after]]
        end = after
    return b"".join(kept)


@cache
def _parser(language: str) -> Any:
    core = require("tree_sitter", "scan")
    if language == "javascript":
        grammar = require("tree_sitter_javascript", "scan").language()
    else:
        typescript = require("tree_sitter_typescript", "scan")
        grammar = typescript.language_tsx() if language == "tsx" else typescript.language_typescript()
    return core.Parser(core.Language(grammar))


def _broken(root: Node) -> Iterator[Node]:
    stack = [root] if root.has_error else []
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            yield node
        stack.extend(child for child in node.children if child.has_error)


class Statements(Definitions):
    """Lowering of statements."""

    def block(self, node: Node) -> tuple[ir.Statement, ...]:
        """Lower the statements of a block."""
        return tuple(self.statements(node.named_children))

    def statements(self, nodes: Iterable[Node]) -> list[ir.Statement]:
        """Lower several statements."""
        result: list[ir.Statement] = []
        if self.depth >= MAX_DEPTH:
            self.too_deep.update(line_of(node) for node in nodes)
            return result
        self.depth += 1
        for node in nodes:
            lower = self._STATEMENTS.get(node.type)
            if lower is not None:
                result.extend(lower(self, node))
            elif node.type not in _EMPTY:
                result.append(ir.Do(line_of(node), self.value(node)))
        self.depth -= 1
        return result

    def _body(self, node: Node | None) -> tuple[ir.Statement, ...]:
        if node is None:
            return ()
        return self.block(node) if node.type == "statement_block" else tuple(self.statements((node,)))

    # ------------------------------------------------------------ simple statements

    def _expression(self, node: Node) -> Iterable[ir.Statement]:
        for child in node.named_children:
            if child.type == "internal_module":
                yield from self._namespace(child)
            elif child.type == "sequence_expression":
                for part in child.named_children:
                    yield from self._effect(part)
            elif child.type != "comment":
                yield from self._effect(child)

    def _effect(self, node: Node) -> Iterable[ir.Statement]:
        """An expression that is a statement: an assignment, a deletion, an export of CommonJS, or a call."""
        line = line_of(node)
        if node.type == "unary_expression" and node.children[0].type == "delete":
            yield ir.Delete(line, (self.value(node.child_by_field_name("argument")),))
            return
        value = self.value(node)
        targets: list[ir.Expression] = []
        while isinstance(value, ir.Assigned):
            targets.append(value.target)
            value = value.value
        if not targets:
            yield ir.Do(line, value)
        elif node.type == "augmented_assignment_expression" and isinstance(value, ir.Binary):
            yield ir.Assign(line, tuple(targets), value.right, operator=value.operator)
        else:
            yield ir.Assign(line, tuple(targets), value)
            for target in targets:
                yield from commonjs(target, value)

    def _declaration(self, node: Node) -> Iterable[ir.Statement]:
        for child in node.named_children:
            if child.type == "variable_declarator":
                yield self._declarator(child)

    def _declarator(self, node: Node) -> ir.Statement:
        """A function that is assigned to a name is a definition of that name."""
        target = self.pattern(node.child_by_field_name("name"))
        name = name_of_target(target)
        given = node.child_by_field_name("value")
        value = None if given is None else self.value(given, name)
        found = None if value is None else imported(line_of(node), target, value)
        if found is not None:
            return found
        if isinstance(value, ir.Lambda) and isinstance(target, ir.Name):
            made = value.definition
            return ir.Function(
                made.line, name, made.parameters, made.body, made.decorators, made.returns, made.is_async
            )
        return ir.Assign(line_of(node), (target,), value, type_of(node.child_by_field_name("type")))

    def _return(self, node: Node) -> Iterable[ir.Statement]:
        parts = [child for child in node.named_children if child.type != "comment"]
        yield ir.Return(line_of(node), self.value(parts[0]) if parts else None)

    def _throw(self, node: Node) -> Iterable[ir.Statement]:
        yield from (ir.Do(line_of(node), self.value(child)) for child in node.named_children)

    # ------------------------------------------------------------ compound statements

    def _if(self, node: Node) -> Iterable[ir.Statement]:
        """`else if` is an arm of the same branch."""
        arms: list[ir.Arm] = []
        current: Node | None = node
        while current is not None and current.type == "if_statement":
            test = self.value(current.child_by_field_name("condition"))
            arms.append(ir.Arm(line_of(current), test, self._body(current.child_by_field_name("consequence"))))
            otherwise = current.child_by_field_name("alternative")
            inner = [] if otherwise is None else [part for part in otherwise.named_children if part.type != "comment"]
            current = inner[0] if inner else None
        if current is not None:
            arms.append(ir.Arm(line_of(current), None, self._body(current)))
        yield ir.Branch(line_of(node), tuple(arms))

    def _switch(self, node: Node) -> Iterable[ir.Statement]:
        """Labels of one body are one arm with a choice of tests."""
        subject = self.value(node.child_by_field_name("value"))
        arms: list[ir.Arm] = []
        tests: list[ir.Expression] = []
        body = node.child_by_field_name("body")
        for child in [] if body is None else body.named_children:
            if child.type not in {"switch_case", "switch_default"}:
                continue
            label = child.child_by_field_name("value")
            if label is not None:
                tests.append(ir.Binary(line_of(child), "match", subject, self.value(label)))
            inner = child.children_by_field_name("body")
            if not inner and child.type == "switch_case":
                continue
            test: ir.Expression | None = None
            if child.type == "switch_case":
                test = tests[0] if len(tests) == 1 else ir.Choice(line_of(child), "or", tuple(tests))
            arms.append(ir.Arm(line_of(child), test, tuple(self.statements(inner))))
            tests = []
        yield ir.Branch(line_of(node), tuple(arms))

    def _for(self, node: Node) -> Iterable[ir.Statement]:
        start = node.child_by_field_name("initializer")
        yield from () if start is None else self.statements((start,))
        step = node.child_by_field_name("increment")
        body = self._body(node.child_by_field_name("body"))
        if step is not None:
            body = (*body, *self._effect(step))
        yield ir.Loop(line_of(node), None, self.value(node.child_by_field_name("condition")), body)

    def _for_in(self, node: Node) -> Iterable[ir.Statement]:
        target = self.pattern(node.child_by_field_name("left"))
        values = self.value(node.child_by_field_name("right"))
        yield ir.Loop(line_of(node), target, values, self._body(node.child_by_field_name("body")))

    def _while(self, node: Node) -> Iterable[ir.Statement]:
        test = self.value(node.child_by_field_name("condition"))
        yield ir.Loop(line_of(node), None, test, self._body(node.child_by_field_name("body")))

    def _try(self, node: Node) -> Iterable[ir.Statement]:
        handler = node.child_by_field_name("handler")
        finish = node.child_by_field_name("finalizer")
        handlers = () if handler is None else (self._body(handler.child_by_field_name("body")),)
        last = () if finish is None else self._body(finish.child_by_field_name("body"))
        yield ir.Try(line_of(node), self._body(node.child_by_field_name("body")), handlers, last)

    def _inner(self, node: Node) -> Iterable[ir.Statement]:
        """`declare …`, a label, a block: the statements within."""
        return self.statements([child for child in node.named_children if child.type != "statement_identifier"])

    # ------------------------------------------------------------ definitions

    def _function_statement(self, node: Node) -> Iterable[ir.Statement]:
        name = node.child_by_field_name("name")
        yield self.function(node, "" if name is None else text_of(name))

    def _class_statement(self, node: Node) -> Iterable[ir.Statement]:
        yield self.class_of(node)

    def _interface(self, node: Node) -> Iterable[ir.Statement]:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        bases: list[ir.Expression] = []
        for child in node.named_children:
            if child.type == "extends_type_clause":
                bases.extend(found for part in child.named_children if (found := type_of(part)) is not None)
        statements = () if body is None else members(body)
        yield ir.Class(line_of(node), "" if name is None else text_of(name), tuple(bases), body=statements)

    def _alias(self, node: Node) -> Iterable[ir.Statement]:
        """`type A = {…}` is a class, any other type is assigned to its name."""
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        label = "" if name is None else text_of(name)
        parts = [] if value is None else value.named_children if value.type == "intersection_type" else [value]
        objects = [part for part in parts if part.type == "object_type"]
        if objects:
            others = [type_of(part) for part in parts if part.type != "object_type"]
            body = tuple(member for part in objects for member in members(part))
            yield ir.Class(line_of(node), label, tuple(base for base in others if base is not None), body=body)
        else:
            yield ir.Assign(line_of(node), (ir.Name(line_of(node), label),), type_of(value))

    def _enum(self, node: Node) -> Iterable[ir.Statement]:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        items: list[ir.Statement] = []
        for child in [] if body is None else body.named_children:
            key = child.child_by_field_name("name") if child.type == "enum_assignment" else child
            if key is None or key.type == "comment":
                continue
            value = child.child_by_field_name("value") if child.type == "enum_assignment" else None
            target = ir.Name(line_of(child), string_of(key) if key.type == "string" else text_of(key))
            items.append(ir.Assign(line_of(child), (target,), None if value is None else self.value(value)))
        yield ir.Class(line_of(node), "" if name is None else text_of(name), body=tuple(items))

    def _namespace(self, node: Node) -> Iterable[ir.Statement]:
        """`namespace A {…}` is a class whose members are its declarations."""
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        statements = () if body is None else self.block(body)
        if name is None or name.type == "string":
            yield from statements
        else:
            yield ir.Class(line_of(node), text_of(name), body=statements)

    # ------------------------------------------------------------ imports and exports

    def _import_statement(self, node: Node) -> Iterable[ir.Statement]:
        source = node.child_by_field_name("source")
        line, module = line_of(node), "" if source is None else string_of(source)
        names: list[ir.Imported] = []
        alias = ""
        for clause in node.named_children:
            if clause.type == "import_require_clause":
                required = clause.child_by_field_name("source")
                module = "" if required is None else string_of(required)
                alias = text_of(clause.named_children[0])
            for child in clause.named_children if clause.type == "import_clause" else ():
                if child.type == "identifier":
                    names.append(ir.Imported(line_of(child), "default", text_of(child)))
                elif child.type == "namespace_import":
                    alias = text_of(child.named_children[-1])
                elif child.type == "named_imports":
                    names.extend(specifiers(child))
        if alias:
            yield ir.Import(line, module, alias=alias)
        if names or not alias:
            yield ir.Import(line, module, tuple(names))

    def _export(self, node: Node) -> Iterable[ir.Statement]:
        source = node.child_by_field_name("source")
        if source is not None:
            yield reexport(node, string_of(source))
            return
        declaration = node.child_by_field_name("declaration")
        default = any(child.type in {"default", "="} for child in node.children)
        if declaration is not None:
            yield from self._exported_declaration(node, declaration, default=default)
            return
        for child in node.named_children:
            if child.type == "export_clause":
                for part in specifiers(child):
                    yield ir.Export(part.line, part.alias, ir.Name(part.line, part.name))
            elif default and child.type not in {"decorator", "comment"}:
                yield ir.Export(line_of(node), "default", self.value(child, "default"))

    def _exported_declaration(self, node: Node, declaration: Node, *, default: bool) -> Iterable[ir.Statement]:
        """The decorators of an exported class stand before `export`."""
        decorators = [
            part for child in node.named_children if child.type == "decorator" for part in child.named_children
        ]
        if decorators and "class" in declaration.type:
            statements: list[ir.Statement] = [self.class_of(declaration, decorators=self.values(decorators))]
        else:
            statements = self.statements((declaration,))
        yield from statements
        for statement in statements:
            for name in bound(statement):
                yield ir.Export(statement.line, "default" if default else name, ir.Name(statement.line, name))

    _STATEMENTS: ClassVar[dict[str, Callable[[Any, Node], Iterable[ir.Statement]]]] = {
        "expression_statement": _expression,
        "lexical_declaration": _declaration,
        "variable_declaration": _declaration,
        "return_statement": _return,
        "throw_statement": _throw,
        "if_statement": _if,
        "switch_statement": _switch,
        "for_statement": _for,
        "for_in_statement": _for_in,
        "while_statement": _while,
        "do_statement": _while,
        "try_statement": _try,
        "labeled_statement": _inner,
        "statement_block": _inner,
        "ambient_declaration": _inner,
        "function_declaration": _function_statement,
        "generator_function_declaration": _function_statement,
        "class_declaration": _class_statement,
        "abstract_class_declaration": _class_statement,
        "interface_declaration": _interface,
        "type_alias_declaration": _alias,
        "enum_declaration": _enum,
        "internal_module": _namespace,
        "module": _namespace,
        "import_statement": _import_statement,
        "export_statement": _export,
    }
