"""Intermediate representation of source code, common to Python, JavaScript and TypeScript.

A front end lowers the syntax tree of one file to one `Module`. All later steps (name resolution, types, rules) read
only this form, so that a rule is written once. Lowering keeps what decides where a value comes from and drops the
rest: `await x` is `x`, types are kept where they name a class, and an expression of no known kind is `Other` with its
parts.

Lines are 1-based. The line of an expression is the line where it begins; for a call, that of the first character of
what is called.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Language: TypeAlias = Literal["python", "javascript", "typescript"]


class Node(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """A part of a module. `line`: where it begins."""

    line: int


# ---------------------------------------------------------------- expressions


class Name(Node, frozen=True, array_like=True, gc=False):
    """A variable; `this` of JavaScript is lowered to `self`."""

    id: str


class Attribute(Node, frozen=True, array_like=True, gc=False):
    """`value.name`, and `value?.name`."""

    value: Expression
    name: str


class Index(Node, frozen=True, array_like=True, gc=False):
    """`value[key]`; also the arguments of a generic type, `Annotated[X, y]` and `Array<X>`."""

    value: Expression
    key: Expression


class Keyword(Node, frozen=True, array_like=True, gc=False):
    """`name=value` of a call; `name` is empty for `**value`."""

    name: str
    value: Expression


class Call(Node, frozen=True, array_like=True, gc=False):
    """`function(…)`, and `new Function(…)` where `new` is true. `*value` among the arguments is a `Spread`."""

    function: Expression
    arguments: tuple[Expression, ...] = ()
    keywords: tuple[Keyword, ...] = ()
    new: bool = False


class Text(Node, frozen=True, array_like=True, gc=False):
    """A string without substitutions; adjacent literals are joined. Bytes are decoded as UTF-8 with replacement."""

    value: str


class Template(Node, frozen=True, array_like=True, gc=False):
    """An f-string or template literal: `Text` parts and expressions, in order."""

    parts: tuple[Expression, ...]


class Constant(Node, frozen=True, array_like=True, gc=False):
    """A number, boolean or null; `undefined` is null."""

    value: bool | int | float | None


class Sequence(Node, frozen=True, array_like=True, gc=False):
    """A list, tuple or set; an array."""

    kind: Literal["list", "tuple", "set"]
    items: tuple[Expression, ...] = ()


class Mapping(Node, frozen=True, array_like=True, gc=False):
    """A dict or an object literal. The key of `**value` and `...value` is null; a name as a key is `Text`."""

    items: tuple[tuple[Expression | None, Expression], ...] = ()


class Choice(Node, frozen=True, array_like=True, gc=False):
    """One of several values: `a or b`, `a ?? b` (operator "or"), `a and b` ("and"), `a if test else b` ("if")."""

    operator: Literal["or", "and", "if"]
    options: tuple[Expression, ...]
    test: Expression | None = None


class Binary(Node, frozen=True, array_like=True, gc=False):
    """`left operator right`, comparisons too; `===` is `==`, and `subject match pattern` stands for an arm of `match`
    or `switch`.
    """

    operator: str
    left: Expression
    right: Expression


class Not(Node, frozen=True, array_like=True, gc=False):
    """`not value`, `!value`."""

    value: Expression


class Lambda(Node, frozen=True, array_like=True, gc=False):
    """A function that is a value: `lambda`, `() => …`, `function () {…}`. An expression body is one `Return`."""

    definition: Function


class ClassValue(Node, frozen=True, array_like=True, gc=False):
    """A class that is a value: `class extends X {…}`."""

    definition: Class


class Spread(Node, frozen=True, array_like=True, gc=False):
    """`*value`, and `...value`."""

    value: Expression


class Comprehension(Node, frozen=True, array_like=True, gc=False):
    """`[element for target in values if test]`: `loops` holds (target, values) pairs.

    A dict's element is a `tuple` sequence.
    """

    element: Expression
    loops: tuple[tuple[Expression, Expression], ...]
    tests: tuple[Expression, ...] = ()


class Assigned(Node, frozen=True, array_like=True, gc=False):
    """An assignment that is an expression: `(target := value)`."""

    target: Expression
    value: Expression


class Yield(Node, frozen=True, array_like=True, gc=False):
    """`yield value`, `yield from value`."""

    value: Expression | None = None


class Other(Node, frozen=True, array_like=True, gc=False):
    """Any other expression, or a tree with errors: only its parts are known."""

    parts: tuple[Expression, ...] = ()


Expression: TypeAlias = (
    Name
    | Attribute
    | Index
    | Call
    | Text
    | Template
    | Constant
    | Sequence
    | Mapping
    | Choice
    | Binary
    | Not
    | Lambda
    | ClassValue
    | Spread
    | Comprehension
    | Assigned
    | Yield
    | Other
)


# ---------------------------------------------------------------- statements


class Assign(Node, frozen=True, array_like=True, gc=False):
    """`target = value`. `operator` is "+" for `+=`. A declaration has an annotation, or `value` null, or both.

    Destructuring: the target is a `Sequence` or a `Mapping`. An attribute with an annotation in a class body is a
    field.
    """

    targets: tuple[Expression, ...]
    value: Expression | None = None
    annotation: Expression | None = None
    operator: str = ""


class Do(Node, frozen=True, array_like=True, gc=False):
    """An expression that is a statement; `raise x` and `assert x` too."""

    value: Expression


class Return(Node, frozen=True, array_like=True, gc=False):
    """`return value`."""

    value: Expression | None = None


class Arm(Node, frozen=True, array_like=True, gc=False):
    """One arm of a `Branch`; `test` is null for `else` and `default`."""

    test: Expression | None
    body: tuple[Statement, ...]


class Branch(Node, frozen=True, array_like=True, gc=False):
    """`if`, `match`, `switch`."""

    arms: tuple[Arm, ...]


class Loop(Node, frozen=True, array_like=True, gc=False):
    """`for target in values`, `while` (target null, the test as `values`)."""

    target: Expression | None
    values: Expression | None
    body: tuple[Statement, ...]


class With(Node, frozen=True, array_like=True, gc=False):
    """`with value as target, …`."""

    items: tuple[tuple[Expression, Expression | None], ...]
    body: tuple[Statement, ...]


class Try(Node, frozen=True, array_like=True, gc=False):
    """`try`; `handlers` are the bodies of `except` and `catch`, `finish` those of `else` and `finally`."""

    body: tuple[Statement, ...]
    handlers: tuple[tuple[Statement, ...], ...] = ()
    finish: tuple[Statement, ...] = ()


class Imported(Node, frozen=True, array_like=True, gc=False):
    """A name that an `Import` binds: `name as alias`. "*": all names; "default": the default export."""

    name: str
    alias: str


class Import(Node, frozen=True, array_like=True, gc=False):
    """`from module import names`, `import module as alias` (`names` empty), `require`, and dynamic imports that are
    assigned.

    `level`: dots of a relative Python import. `module` of JavaScript is the specifier, as written. `alias` is the
    whole module's name in this file: of `import a.b` it is "a". `exported`: a re-export (`export {a} from "x"`,
    `export * from "x"`), which binds nothing here.
    """

    module: str
    names: tuple[Imported, ...] = ()
    alias: str = ""
    level: int = 0
    exported: bool = False


class Export(Node, frozen=True, array_like=True, gc=False):
    """`export {local as name}`, `export default local` (name "default"), `module.exports = …`.

    A declaration that is exported stands before it.
    """

    name: str
    value: Expression


class Scope(Node, frozen=True, array_like=True, gc=False):
    """`global names` and `nonlocal names`."""

    kind: Literal["global", "nonlocal"]
    names: tuple[str, ...]


class Delete(Node, frozen=True, array_like=True, gc=False):
    """`del target`, `delete target`."""

    targets: tuple[Expression, ...]


class Parameter(Node, frozen=True, array_like=True, gc=False):
    """A parameter.

    `kind`: "normal", "rest" (`*args`, `...args`) or "keywords" (`**kwargs`). A pattern has the name "" and is in
    `pattern`.
    """

    name: str
    annotation: Expression | None = None
    default: Expression | None = None
    kind: Literal["normal", "rest", "keywords"] = "normal"
    pattern: Expression | None = None


class Function(Node, frozen=True, array_like=True, gc=False):
    """A function or method.

    `line`: that of `def`, not of a decorator. The name of an anonymous one is the variable or property that it is
    assigned to, else "".
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    body: tuple[Statement, ...] = ()
    decorators: tuple[Expression, ...] = ()
    returns: Expression | None = None
    is_async: bool = False


class Class(Node, frozen=True, array_like=True, gc=False):
    """A class, interface or type with members."""

    name: str
    bases: tuple[Expression, ...] = ()
    keywords: tuple[Keyword, ...] = ()
    body: tuple[Statement, ...] = ()
    decorators: tuple[Expression, ...] = ()


Statement: TypeAlias = (
    Assign | Do | Return | Branch | Loop | With | Try | Import | Export | Scope | Delete | Function | Class
)


class Cell(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cell of a notebook: its number, and the line of the module before its first."""

    number: int
    before: int


class Module(msgspec.Struct, frozen=True, array_like=True):
    """One file.

    `path`: relative to the root of the scan, with "/". `errors`: lines that the parser could not read.
    """

    path: str
    language: Language
    body: tuple[Statement, ...]
    errors: tuple[int, ...] = ()
    cells: tuple[Cell, ...] = ()

    def place(self, line: int) -> tuple[str, int]:
        """Return the path and line of a line: of a notebook, the cell and the line in it."""
        for cell in reversed(self.cells):
            if line > cell.before:
                return f"{self.path}:cell{cell.number}", line - cell.before
        return self.path, line
