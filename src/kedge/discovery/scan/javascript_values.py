"""Lowering of JavaScript and TypeScript expressions, functions and classes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from kedge.discovery import ir
from kedge.discovery.scan.javascript_syntax import line_of, name_of_target, number_of, piece_of, string_of, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

MAX_DEPTH: Final = 100
"""Expressions and statements nested deeper are `Other`, and their lines are errors of the module."""

NAMING_CALLS: Final = re.compile(
    r"(?:React\.)?[A-Za-z_$][\w$]*"
    r"|(?s:.*)\.(?:mutation|query|subscription|action|handler|implement|createFunction|on[A-Z]\w*)"
)
"""Calls whose function argument has the name of the variable or property that takes the result.

`const send = useCallback(…)`, `{ create: procedure.input(…).mutation(…) }`.
"""

_NOT_NAMING: Final = frozenset({"setTimeout", "setInterval", "setImmediate", "queueMicrotask", "Promise", "useEffect"})
_LAST: Final = frozenset({"type_assertion"})
_LEAVES: Final = frozenset({"identifier", "this", "template_string", "string", "array", "object"})
_OPERATORS: Final = {"===": "==", "!==": "!="}
_CHOICES: Final = {"||": "or", "??": "or", "&&": "and"}


class Values(ABC):
    """Lowering of expressions; statements are left to the subclass."""

    def __init__(self) -> None:
        self.depth = 0
        self.too_deep: set[int] = set()

    @abstractmethod
    def function(self, node: Node, name: str) -> ir.Function:
        """Lower a function, method or signature."""

    @abstractmethod
    def class_of(self, node: Node, name: str = "") -> ir.Class:
        """Lower a class."""

    @abstractmethod
    def block(self, node: Node) -> tuple[ir.Statement, ...]:
        """Lower the statements of a block."""

    def value(self, node: Node | None, name: str = "") -> ir.Expression:
        """Lower an expression. `name`: of the variable or property that takes it."""
        if node is None:
            return ir.Other(0)
        if self.depth >= MAX_DEPTH:
            self.too_deep.add(line_of(node))
            return ir.Other(line_of(node))
        self.depth += 1
        lower = self._VALUES.get(node.type)
        result = self._other(node, "") if lower is None else lower(self, node, name)
        self.depth -= 1
        return result

    def values(self, nodes: Iterable[Node]) -> tuple[ir.Expression, ...]:
        """Lower several expressions."""
        return tuple([self.value(node) for node in nodes if node.type != "comment"])

    # ------------------------------------------------------------ names and literals

    def _name(self, node: Node, _name: str) -> ir.Expression:
        return ir.Name(line_of(node), text_of(node))

    def _this(self, node: Node, _name: str) -> ir.Expression:
        return ir.Name(line_of(node), "self")

    def _super(self, node: Node, _name: str) -> ir.Expression:
        return ir.Call(line_of(node), ir.Name(line_of(node), "super"))

    def _string(self, node: Node, _name: str) -> ir.Expression:
        return ir.Text(line_of(node), string_of(node))

    def _number(self, node: Node, _name: str) -> ir.Expression:
        return ir.Constant(line_of(node), number_of(text_of(node)))

    def _constant(self, node: Node, _name: str) -> ir.Expression:
        return ir.Constant(line_of(node), {"true": True, "false": False}.get(node.type))

    def _template(self, node: Node, _name: str) -> ir.Expression:
        parts: list[ir.Expression] = []
        text = ""
        for child in node.named_children:
            if child.type == "template_substitution":
                if text:
                    parts.append(ir.Text(line_of(child), text))
                    text = ""
                parts.extend(self.values(child.named_children))
            else:
                text += piece_of(child)
        if not parts:
            return ir.Text(line_of(node), text)
        if text:
            parts.append(ir.Text(line_of(node), text))
        return ir.Template(line_of(node), tuple(parts))

    # ------------------------------------------------------------ operators

    def _member(self, node: Node, _name: str) -> ir.Expression:
        owner = self.value(node.child_by_field_name("object"))
        member = node.child_by_field_name("property")
        return ir.Attribute(line_of(node), owner, "" if member is None else text_of(member))

    def _subscript(self, node: Node, _name: str) -> ir.Expression:
        owner = self.value(node.child_by_field_name("object"))
        return ir.Index(line_of(node), owner, self.value(node.child_by_field_name("index")))

    def _call(self, node: Node, name: str) -> ir.Expression:
        new = node.type == "new_expression"
        called = node.child_by_field_name("constructor" if new else "function")
        given = node.child_by_field_name("arguments")
        function = self._called(called)
        if given is None:
            return ir.Call(line_of(node), function, new=new)
        if given.type == "template_string":
            return ir.Call(line_of(node), function, (self.value(given),))
        inherited = name if called is not None and not new and _names_argument(text_of(called)) else ""
        arguments = tuple([self.value(child, inherited) for child in given.named_children if child.type != "comment"])
        return ir.Call(line_of(node), function, arguments, new=new)

    def _called(self, node: Node | None) -> ir.Expression:
        """`super(…)` calls the constructor of the base class."""
        if node is not None and node.type == "super":
            return ir.Attribute(line_of(node), self._super(node, ""), "constructor")
        return self.value(node)

    def _import(self, node: Node, _name: str) -> ir.Expression:
        return ir.Name(line_of(node), "import")

    def _binary(self, node: Node, _name: str) -> ir.Expression:
        """Chains such as `a + b + c` are followed in a loop: generated code has thousands of terms."""
        terms: list[tuple[str, Node | None, int]] = []
        first: Node | None = node
        while first is not None and first.type == "binary_expression":
            operator = first.child_by_field_name("operator")
            sign = "" if operator is None else operator.type
            terms.append((sign, first.child_by_field_name("right"), line_of(first)))
            first = first.child_by_field_name("left")
        result = self.value(first)
        height = 0
        for sign, right, line in reversed(terms):
            other = self.value(right)
            choice = _CHOICES.get(sign)
            if choice is None:
                height += 1
                if height > MAX_DEPTH:
                    self.too_deep.add(line)
                    return result
                result = ir.Binary(line, _OPERATORS.get(sign, sign), result, other)
            elif isinstance(result, ir.Choice) and result.operator == choice:
                result = ir.Choice(line, result.operator, (*result.options, other))
            else:
                result = ir.Choice(line, "or" if choice == "or" else "and", (result, other))
        return result

    def _ternary(self, node: Node, name: str) -> ir.Expression:
        options = tuple(self.value(node.child_by_field_name(field), name) for field in ("consequence", "alternative"))
        return ir.Choice(line_of(node), "if", options, self.value(node.child_by_field_name("condition")))

    def _unary(self, node: Node, _name: str) -> ir.Expression:
        argument = node.child_by_field_name("argument")
        if argument is not None and argument.type == "number" and text_of(node).startswith("-"):
            number = number_of(text_of(argument))
            return ir.Constant(line_of(node), None if number is None else -number)
        if node.children[0].type == "!":
            return ir.Not(line_of(node), self.value(argument))
        return ir.Other(line_of(node), (self.value(argument),))

    def _assignment(self, node: Node, _name: str) -> ir.Expression:
        left = node.child_by_field_name("left")
        target = self.pattern(left)
        value = self.value(node.child_by_field_name("right"), name_of_target(target))
        if node.type == "augmented_assignment_expression":
            operator = node.child_by_field_name("operator")
            sign = "" if operator is None else operator.type.removesuffix("=")
            if sign in _CHOICES:
                value = ir.Choice(line_of(node), "and" if sign == "&&" else "or", (target, value))
            else:
                value = ir.Binary(line_of(node), sign, target, value)
        return ir.Assigned(line_of(node), target, value)

    def _yield(self, node: Node, _name: str) -> ir.Expression:
        return ir.Yield(line_of(node), self.value(node.named_children[0]) if node.named_children else None)

    def _transparent(self, node: Node, name: str) -> ir.Expression:
        """`(x)`, `await x`, `x!`, `x as T`, `x satisfies T`, `<T>x`, `f<T>`: the value is x."""
        children = [child for child in node.named_children if child.type != "comment"]
        if not children:
            return ir.Other(line_of(node))
        inner = "" if node.type == "await_expression" else name  # what is awaited is a result, no definition
        return self.value(children[-1] if node.type in _LAST else children[0], inner)

    def _last(self, node: Node, name: str) -> ir.Expression:
        """`(a, b)`: the value is b, and a is evaluated."""
        parts = self.values(node.named_children)
        return ir.Other(line_of(node), parts) if name == "" else parts[-1]

    def _other(self, node: Node, _name: str) -> ir.Expression:
        """Any other expression, JSX too: its parts."""
        return ir.Other(
            line_of(node),
            self.values(child for child in node.named_children if child.named_child_count or child.type in _LEAVES),
        )

    # ------------------------------------------------------------ collections

    def _array(self, node: Node, _name: str) -> ir.Expression:
        return ir.Sequence(line_of(node), "list", self.values(node.named_children))

    def _spread(self, node: Node, _name: str) -> ir.Expression:
        return ir.Spread(line_of(node), self.value(node.named_children[0] if node.named_children else None))

    def _object(self, node: Node, name: str) -> ir.Expression:
        items: list[tuple[ir.Expression | None, ir.Expression]] = []
        for child in node.named_children:
            kind = child.type
            if kind == "pair":
                key = self.key(child.child_by_field_name("key"))
                items.append((key, self.value(child.child_by_field_name("value"), _joined(name, key))))
            elif kind == "shorthand_property_identifier":
                items.append((ir.Text(line_of(child), text_of(child)), ir.Name(line_of(child), text_of(child))))
            elif kind == "spread_element":
                items.append((None, self.value(child.named_children[0] if child.named_children else None)))
            elif kind == "method_definition":
                key = self.key(child.child_by_field_name("name"))
                items.append((key, ir.Lambda(line_of(child), self.function(child, _joined(name, key)))))
        return ir.Mapping(line_of(node), tuple(items))

    def key(self, node: Node | None) -> ir.Expression:
        """Lower the key of a property: `Text`, or the expression of `[key]`."""
        if node is None:
            return ir.Other(0)
        if node.type == "string":
            return ir.Text(line_of(node), string_of(node))
        if node.type == "computed_property_name":
            return self.value(node.named_children[0] if node.named_children else None)
        return ir.Text(line_of(node), text_of(node))

    def pattern(self, node: Node | None) -> ir.Expression:
        """Lower the target of an assignment; a part with a default is `Assigned`."""
        if node is None:
            return ir.Other(0)
        line, kind = line_of(node), node.type
        if kind == "object_pattern":
            return ir.Mapping(line, tuple(self._property(child) for child in node.named_children))
        if kind == "array_pattern":
            return ir.Sequence(line, "list", tuple(self._elements(node)))
        if kind in {"assignment_pattern", "object_assignment_pattern"}:
            target = self.pattern(node.child_by_field_name("left"))
            default = self.value(node.child_by_field_name("right"), name_of_target(target))
            return ir.Assigned(line, target, default)
        if kind in {"rest_pattern", "spread_element"}:
            return ir.Spread(line, self.pattern(node.named_children[0] if node.named_children else None))
        if kind == "shorthand_property_identifier_pattern":
            return ir.Name(line, text_of(node))
        return self.value(node)

    def _property(self, node: Node) -> tuple[ir.Expression | None, ir.Expression]:
        if node.type == "pair_pattern":
            return self.key(node.child_by_field_name("key")), self.pattern(node.child_by_field_name("value"))
        target = self.pattern(node)
        if isinstance(target, ir.Spread):
            return None, target.value
        bound = target.target if isinstance(target, ir.Assigned) else target
        return ir.Text(line_of(node), bound.id if isinstance(bound, ir.Name) else ""), target

    def _elements(self, node: Node) -> Iterable[ir.Expression]:
        """The elements of an array pattern; a hole is `Other`, so that positions stay right."""
        filled = False
        for child in node.children:
            if child.is_named:
                yield self.pattern(child)
                filled = True
            elif child.type == ",":
                if not filled:
                    yield ir.Other(line_of(child))
                filled = False

    # ------------------------------------------------------------ JSX

    def _braces(self, node: Node, _name: str) -> ir.Expression:
        children = [child for child in node.named_children if child.type != "comment"]
        return self.value(children[0]) if children else ir.Other(line_of(node))

    # ------------------------------------------------------------ definitions

    def _lambda(self, node: Node, name: str) -> ir.Expression:
        own = node.child_by_field_name("name")
        return ir.Lambda(line_of(node), self.function(node, name if own is None else text_of(own)))

    def _class_value(self, node: Node, name: str) -> ir.Expression:
        return ir.ClassValue(line_of(node), self.class_of(node, name))

    _VALUES: ClassVar[dict[str, Callable[[Any, Node, str], ir.Expression]]] = {
        "identifier": _name,
        "undefined": _constant,
        "null": _constant,
        "true": _constant,
        "false": _constant,
        "number": _number,
        "string": _string,
        "template_string": _template,
        "this": _this,
        "super": _super,
        "import": _import,
        "member_expression": _member,
        "subscript_expression": _subscript,
        "call_expression": _call,
        "new_expression": _call,
        "binary_expression": _binary,
        "ternary_expression": _ternary,
        "unary_expression": _unary,
        "assignment_expression": _assignment,
        "augmented_assignment_expression": _assignment,
        "yield_expression": _yield,
        "parenthesized_expression": _transparent,
        "await_expression": _transparent,
        "non_null_expression": _transparent,
        "as_expression": _transparent,
        "satisfies_expression": _transparent,
        "type_assertion": _transparent,
        "instantiation_expression": _transparent,
        "sequence_expression": _last,
        "array": _array,
        "object": _object,
        "spread_element": _spread,
        "arrow_function": _lambda,
        "function_expression": _lambda,
        "generator_function": _lambda,
        "class": _class_value,
        "jsx_expression": _braces,
    }


def _joined(name: str, key: ir.Expression) -> str:
    own = key.value if isinstance(key, ir.Text) else ""
    return f"{name}.{own}" if name and own else own


def _names_argument(called: str) -> bool:
    return NAMING_CALLS.fullmatch(called) is not None and called not in _NOT_NAMING
