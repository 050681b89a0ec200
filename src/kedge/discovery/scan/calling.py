"""Names of what is called, and calls that functions make of an argument."""

from __future__ import annotations

from kedge.discovery import ir

CALLED = {
    "to_thread": 0, "run_sync": 0, "run_in_threadpool": 0, "run_in_executor": 1, "submit": 0, "Depends": 0,
    "Security": 0, "call_soon": 0, "run_in_thread": 0, "useMemo": 0, "useState": 0, "add_task": 0,
    "Singleton": 0, "ThreadSafeSingleton": 0, "Factory": 0, "Resource": 0,
}  # fmt: skip
"""Functions that call an argument, and its position."""
_STARTED = {"Thread", "Process", "Timer"}
"""Classes that call their `target` with `args` and `kwargs`, of `threading` and `multiprocessing`."""


def called_argument(call: ir.Call) -> ir.Call | None:
    """Return the call that a function makes of its argument: `f(x)` of `asyncio.to_thread(f, x)`."""
    name = called_name(call)
    if name in _STARTED:
        return _started(call)
    position = CALLED.get(name)
    if position is None or len(call.arguments) <= position:
        return None
    function = call.arguments[position]
    if isinstance(function, ir.Call) and called_name(function) == "partial" and function.arguments:
        call, function, position = function, function.arguments[0], 0
    if not isinstance(function, ir.Name | ir.Attribute):
        return None
    return ir.Call(call.line, function, call.arguments[position + 1 :], call.keywords)


def _started(call: ir.Call) -> ir.Call | None:
    given = {word.name: word.value for word in call.keywords}
    function, arguments, keywords = given.get("target", given.get("function")), given.get("args"), given.get("kwargs")
    if not isinstance(function, ir.Name | ir.Attribute):
        return None
    words = keywords.items if isinstance(keywords, ir.Mapping) else ()
    named = tuple(ir.Keyword(value.line, key.value, value) for key, value in words if isinstance(key, ir.Text))
    return ir.Call(call.line, function, arguments.items if isinstance(arguments, ir.Sequence) else (), named)


def called_name(call: ir.Call) -> str:
    """Return the last name of what is called, "" if it has none."""
    node = call.function
    if isinstance(node, ir.Attribute):
        return node.name
    return node.id if isinstance(node, ir.Name) else ""
