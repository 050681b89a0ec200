"""What the parameters of functions are that a library calls: transactions, contexts, promises."""

from kedge.discovery.scan.javascript import lower_javascript
from kedge.discovery.scan.program import Program
from kedge.discovery.scan.rules import Rules, read_rules

RULES = Rules(
    [
        read_rules(
            """
[[bind]]
store = "box"
kind = "remote"
gives = "box"
calls = ["boxdb:{Box,default}"]

[[type]]
gives = "box"
store = "box"
kind = "remote"
values = ["boxdb/edge:{box,default}"]

[[member]]
on = "box"
member = "*"
gives = "box.table"

[[callback]]
on = "box"
methods = ["transaction"]
gives = "self"

[[callback]]
calls = ["boxdb/server:handler"]
gives = "box.context"
parameter = 1
store = "box"
kind = "remote"
only = [{ argument = "handler", present = true }]

[[member]]
on = "box.context"
member = "db"
gives = "box.table"

[[member]]
on = "box.table"
member = "*()"
gives = "self"

[[write]]
on = ["box", "box.table"]
methods = ["put", "()"]
""",
            "rules.toml",
        )
    ]
)


def found(source: str) -> list[str]:
    module = lower_javascript("a.ts", source.encode(), "typescript")
    return [f"{site.line} {site.site_class} {site.function}" for site in Program([module], RULES).sites()]


BOX = "import { Box } from 'boxdb'\nconst box = new Box()\n"


def test_a_function_that_a_method_is_given_has_what_the_rule_says() -> None:
    assert found(f"{BOX}box.transaction(async (tx) => {{ await tx.put(1) }})") == [
        "2 bind <module>",
        "3 write <module>",
    ]
    assert found(f"{BOX}box.other(async (tx) => {{ await tx.put(1) }})") == ["2 bind <module>"]
    assert found(f"{BOX}box.transaction(async (a, tx) => {{ await tx.put(1) }})") == ["2 bind <module>"]


def test_a_function_in_an_object_literal_is_given_too() -> None:
    source = (
        "import { handler } from 'boxdb/server'\nexport const save = handler({ handler: (a, { db }) => db.put(1) })"
    )
    assert found(source) == ["2 write save.handler"]
    assert found(source.replace("{ handler:", "{ other:")) == []


def test_a_promise_gives_its_value_and_an_array_its_items() -> None:
    assert found(f"{BOX}box.then(b => b.put(1))") == ["2 bind <module>", "3 write <module>"]
    assert found(f"{BOX};[box].forEach(b => b.put(1))") == ["2 bind <module>", "3 write <module>"]
    assert found(f"{BOX}box.reduce(b => b.put(1))") == ["2 bind <module>"]


def test_any_attribute_or_result_is_of_a_type_and_a_call_can_write() -> None:
    assert found(f"{BOX}box.note.put(1)") == ["2 bind <module>", "3 write <module>"]
    assert found(f"{BOX}box.note.where(1).put(1)") == ["2 bind <module>", "3 write <module>"]
    assert found(f"{BOX}box.where(1).put(1)") == ["2 bind <module>"]
    assert found(f"{BOX}box`a`") == ["2 bind <module>", "3 write <module>"]


def test_the_first_parameter_of_a_method_is_no_instance() -> None:
    source = "import type { Box } from 'boxdb'\nclass A { constructor(private box: Box) {}\n b() { this.box.put(1) } }"
    assert found(source) == ["3 write A.b"]


def test_the_default_of_a_pattern_is_a_value() -> None:
    source = "import { Box } from 'boxdb'\nfunction f({ box = new Box() }) { box.put(1) }"
    assert found(source) == ["2 bind f", "2 write f"]


def test_the_types_of_an_object_are_those_of_its_fields() -> None:
    source = "import type { Box } from 'boxdb'\nfunction f({ a: { box } }: { a: { box: Box } }) { box.put(1) }"
    assert found(source) == ["2 write f"]


def test_a_name_that_is_imported_can_be_a_handle() -> None:
    for imported in ("import { box }", "import box"):
        assert found(f"{imported} from 'boxdb/edge'\nbox.note.put(1)") == ["2 write <module>"]
    assert found("export { box } from 'boxdb/edge'\nimport { other } from 'boxdb/edge'\nother.put(1)") == []


def test_a_package_has_its_name_however_it_is_imported() -> None:
    for specifier in ("npm:boxdb@4", "https://esm.sh/boxdb@4?target=deno", "boxdb"):
        assert found(f"import {{ Box }} from '{specifier}'\nnew Box()") == ["2 bind <module>"]
