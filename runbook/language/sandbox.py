"""The Jinja2 environment that expressions run in: what it allows, and how it is bounded.

Only expressions are ever compiled: no blocks, no comments, no statements. No calls either, and no
attributes but the keys of mappings, so nothing of Python can be reached.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_EXPRESSION_CHARACTERS = 2000
MAX_RESULT_CHARACTERS = 1024 * 1024
MAX_JOINED = 20
"""How many operands `~` may have in one expression."""
_MAX_BITS = 2048
_TESTS = (
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "boolean",
    "mapping",
    "sequence",
    "in",
)


class ExpressionInvalid(ValueError):
    """An expression does not parse, or uses what is not allowed."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        """What to write in its place."""


def parse(expression: str) -> "nodes.Expr":
    """The syntax tree of an expression, everything in it allowed.

    Raises:
        ExpressionInvalid: it is not.
    """
    from jinja2 import TemplateSyntaxError
    from jinja2.parser import Parser

    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        raise ExpressionInvalid(f"longer than {MAX_EXPRESSION_CHARACTERS} characters")
    if not expression.strip():
        raise ExpressionInvalid("there is nothing to compute", "write an expression, or nothing")
    if expression.startswith("{{"):
        raise ExpressionInvalid("it is not written in `{{ }}`", "leave out `{{` and `}}`")
    try:
        parser = Parser(environment(), expression, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            found = parser.stream.current.value
            raise ExpressionInvalid(f"did not expect `{found}` there", _WRITTEN.get(found))
    except TemplateSyntaxError as error:
        raise _in_plain_words(error.message or "does not parse") from error
    except RecursionError:
        raise ExpressionInvalid("nested too deeply") from None
    _refuse(tree)
    return tree


def _in_plain_words(message: str) -> ExpressionInvalid:
    if "end of template" in message:
        return ExpressionInvalid("it ends too early")
    found = re.search(r"^unexpected (?:char )?'(.)'", message)
    if found:
        text = found[1]
        return ExpressionInvalid(f"did not expect `{text}` there", _WRITTEN.get(text))
    message = message.rstrip(".")
    return ExpressionInvalid(message[:1].lower() + message[1:])


_WRITTEN = {
    "=": "compare by `==`",
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`",
    "?": "write `a if condition else b`",
    "$": "write `${{ }}` once, around the whole",
    **dict.fromkeys("“”‘’„", "write plain quotes: `'`"),
}
"""How other languages write it, and how it is written here."""


def _refuse(tree: "nodes.Expr") -> None:
    from jinja2 import nodes

    from runbook.language.diagnostics import did_you_mean

    allowed = environment()
    joined = 0
    pending: list[nodes.Node] = [tree]
    while pending:
        node = pending.pop()
        pending.extend(node.iter_child_nodes())
        if isinstance(node, nodes.Call):
            raise ExpressionInvalid("calls are not allowed", "use a filter, such as `x | lower`")
        if isinstance(node, nodes.Const) and node.value in (math.inf, -math.inf):
            raise ExpressionInvalid("a number in it is too large")
        if isinstance(node, nodes.Pow):
            raise ExpressionInvalid("`**` is not allowed")
        if isinstance(node, nodes.Filter) and node.name not in allowed.filters:
            hint = did_you_mean(node.name, sorted(allowed.filters))
            raise ExpressionInvalid(f"there is no filter `{node.name}`", hint)
        if isinstance(node, nodes.Test) and node.name not in allowed.tests:
            raise ExpressionInvalid(
                f"there is no test `{node.name}`", did_you_mean(node.name, sorted(allowed.tests))
            )
        if isinstance(node, nodes.Concat):
            joined += len(node.nodes)
            if joined > MAX_JOINED:
                raise ExpressionInvalid(f"`~` joins more than {MAX_JOINED} values")


@cache
def environment() -> "ImmutableSandboxedEnvironment":
    """The one environment; it holds no state."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

        def call_binop(self, _context: Any, operator: str, left: Any, right: Any) -> Any:
            return _bounded_binop(self.binop_table[operator], operator, left, right)

        def getattr(self, obj: Any, attribute: str) -> Any:
            # An output named `items` is that output, never the method of a mapping.
            return self.getitem(obj, attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            is_known = isinstance(obj, Mapping) and isinstance(argument, str) and argument in obj
            is_index = isinstance(obj, list | str) and type(argument) is int
            if is_known or (is_index and -len(obj) <= argument < len(obj)):
                return obj[argument]
            return self.undefined(obj=obj, name=argument)

        def call(*_arguments: Any, **_named: Any) -> Any:
            raise ExpressionInvalid("calls are not allowed")

    made = Bounded(undefined=StrictUndefined, autoescape=False)
    made.globals.clear()
    made.tests = {name: made.tests[name] for name in _TESTS}
    own = made.filters
    made.filters = {name: own[name] for name in ("default", "upper", "lower", "first", "last")}
    made.filters |= _FILTERS
    return made


def _bounded_binop(
    operation: Callable[[Any, Any], Any], operator: str, left: Any, right: Any
) -> Any:
    if operator == "**":
        raise ExpressionInvalid("`**` is not allowed")
    if _is_number(left) and _is_number(right):
        if left.bit_length() + right.bit_length() > _MAX_BITS if _are_whole(left, right) else False:
            raise ExpressionInvalid("the numbers are too large")
        return operation(left, right)
    is_addition = operator == "+" and type(left) is type(right) and isinstance(left, str | list)
    if not is_addition:
        raise ExpressionInvalid(
            f"`{operator}` does not go with {type(left).__name__} and {type(right).__name__}"
        )
    if len(left) + len(right) > MAX_RESULT_CHARACTERS:
        raise ExpressionInvalid("the result is too large")
    return operation(left, right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_whole(left: Any, right: Any) -> bool:
    return isinstance(left, int) and isinstance(right, int)


def _length(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise ExpressionInvalid("`length` wants a string, a list or a mapping")
    return len(value)


def _join(value: Any, separator: str = "") -> str:
    if not isinstance(value, list):
        raise ExpressionInvalid("`join` wants a list")
    parts = [str(part) for part in value]
    if sum(map(len, parts)) + len(parts) * len(separator) > MAX_RESULT_CHARACTERS:
        raise ExpressionInvalid("the result is too large")
    return separator.join(parts)


def _replace(value: Any, old: str, new: str) -> str:
    text = _string("replace", value)
    if len(text) + text.count(old) * len(new) > MAX_RESULT_CHARACTERS:
        raise ExpressionInvalid("the result is too large")
    return text.replace(old, new)


def _split(value: Any, separator: str | None = None) -> list[str]:
    return _string("split", value).split(separator)


def _trim(value: Any) -> str:
    return _string("trim", value).strip()


def _string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ExpressionInvalid(f"`{name}` wants a string")
    return value


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def as_text(value: Any) -> str:
    """A value inside mixed text: strings as they are, everything else as JSON has it."""
    return value if isinstance(value, str) else _to_json(value)


def _to_int(value: Any) -> int:
    return int(_number("int", value, int))


def _to_float(value: Any) -> float:
    return float(_number("float", value, float))


def _number(name: str, value: Any, convert: Callable[[Any], float]) -> float:
    try:
        number = convert(value)
        if math.isfinite(number):
            return number
        raise OverflowError
    except (TypeError, ValueError, OverflowError):
        raise ExpressionInvalid(f"`{name}` cannot convert this value") from None


def _round(value: Any, digits: int = 0) -> float:
    return round(_number("round", value, float), digits)


def _absolute(value: Any) -> Any:
    if not _is_number(value):
        raise ExpressionInvalid("`abs` wants a number")
    return abs(value)


_FILTERS: dict[str, Callable[..., Any]] = {
    "length": _length,
    "join": _join,
    "replace": _replace,
    "split": _split,
    "trim": _trim,
    "tojson": _to_json,
    "string": _to_text,
    "int": _to_int,
    "float": _to_float,
    "round": _round,
    "abs": _absolute,
}
