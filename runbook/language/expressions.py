"""Expressions: `${{ … }}` in text, what they refer to, and what they give.

What may stand in one, and how it is bounded: sandbox.py. Whether its names exist: names.py.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from runbook.core.plan import Json
from runbook.errors import ParametersInvalid
from runbook.language.sandbox import (
    MAX_RESULT_CHARACTERS,
    ExpressionInvalid,
    as_text,
    environment,
    parse,
)
from runbook.secret import Secret

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.environment import TemplateExpression

OPENING = "${{"
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class Unclosed(ExpressionInvalid):
    """A `${{` has no `}}`."""

    def __init__(self, fragment: str) -> None:
        super().__init__("`${{` is not closed by `}}`")
        self.fragment = fragment
        """From `${{` to the end of its line."""


class LoneName(ExpressionInvalid):
    """A name stands without what it is part of: `tag` in place of `inputs.tag`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"`{name}` cannot stand alone")
        self.name = name


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression in a text."""

    text: str
    """What stands between `${{` and `}}`, trimmed."""
    fragment: str
    """The same with `${{` and `}}`, as it stands in the text."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that an expression uses: `steps.a.outputs.b` in parts."""

    parts: tuple[str, ...]
    offset: int
    """Where it begins in the expression."""
    guards: frozenset[str] = frozenset()
    """Steps that have surely succeeded wherever this is evaluated."""
    is_optional: bool = False
    """Whether it may be undefined: `is defined`, or with a `default`."""

    def __str__(self) -> str:
        return ".".join(self.parts)


def has_expression(text: str) -> bool:
    """Whether there is a `${{` in a text."""
    return OPENING in text


def split(text: str) -> list[str | Expression]:
    """A text in its pieces: plain ones and expressions; raises Unclosed."""
    pieces: list[str | Expression] = []
    at = 0
    while (start := text.find(OPENING, at)) >= 0:
        end = _end(text, start + len(OPENING))
        if end < 0:
            raise Unclosed(text[start:].split("\n", 1)[0])
        if start > at:
            pieces.append(text[at:start])
        fragment = text[start:end]
        pieces.append(Expression(fragment[3:-2].strip(), fragment))
        at = end
    if at < len(text):
        pieces.append(text[at:])
    return pieces


def _end(text: str, at: int) -> int:
    """Where the expression that begins here ends, its `}}` included; -1: nowhere."""
    expected: list[str] = []
    quote = ""
    while at < len(text):
        character = text[at]
        if quote:
            at += character == "\\"
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif not expected and text.startswith("}}", at):
            return at + 2
        elif character in _CLOSING:
            expected.append(_CLOSING[character])
        elif expected and character == expected[-1]:
            expected.pop()
        at += 1
    return -1


def expressions_in(text: str) -> list[Expression]:
    """The expressions of a text, in order; raises Unclosed."""
    return [piece for piece in split(text) if isinstance(piece, Expression)]


# --- references -----------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def references(expression: str) -> tuple[Reference, ...]:
    """Every name that an expression uses, in order; raises ExpressionInvalid."""
    tree = parse(expression)
    found = _Walk(expression)
    found.visit(tree, frozenset(), is_optional=False)
    return tuple(found.references)


def references_in(text: str) -> Iterator[tuple[Reference, str]]:
    """Every reference in a text, with its expression as written; what does not parse has none."""
    with suppress(ExpressionInvalid):
        for expression in expressions_in(text):
            for reference in references(expression.text):
                yield reference, expression.fragment


@dataclass(slots=True)
class _Walk:
    """Collects references, with what is sure where each stands."""

    expression: str
    references: list[Reference] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)

    def visit(self, node: "nodes.Node", guards: frozenset[str], *, is_optional: bool) -> None:
        from jinja2 import nodes

        parts = chain(node)
        if parts:
            self._add(parts, guards, is_optional=is_optional)
        elif isinstance(node, nodes.Name):
            raise LoneName(node.name)
        elif isinstance(node, nodes.CondExpr):
            self.visit(node.test, guards, is_optional=False)
            self.visit(node.expr1, guards | _sure(node.test, is_true=True), is_optional=False)
            if node.expr2 is not None:
                other = guards | _sure(node.test, is_true=False)
                self.visit(node.expr2, other, is_optional=False)
        elif isinstance(node, nodes.And | nodes.Or):
            self.visit(node.left, guards, is_optional=False)
            sure = _sure(node.left, is_true=isinstance(node, nodes.And))
            self.visit(node.right, guards | sure, is_optional=False)
        else:
            is_handled = isinstance(node, nodes.Filter) and node.name == "default"
            is_asked = isinstance(node, nodes.Test) and node.name in ("defined", "undefined")
            for position, child in enumerate(node.iter_child_nodes()):
                optional = (is_handled or is_asked) and position == 0
                self.visit(child, guards, is_optional=optional)

    def _add(self, parts: tuple[str, ...], guards: frozenset[str], *, is_optional: bool) -> None:
        dotted = ".".join(parts)
        offset = self.expression.find(dotted, self._seen.get(dotted, 0))
        self._seen[dotted] = offset + 1
        self.references.append(Reference(parts, max(offset, 0), guards, is_optional))


def chain(node: "nodes.Node") -> tuple[str, ...]:
    """The parts of `a.b.c` or `a['b'].c`; empty: the node is something else, or a bare name."""
    from jinja2 import nodes

    parts: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            parts.append(node.attr)
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str | int):
            parts.append(str(node.arg.value))
        else:
            # What is looked up by a computed key is still a use of what it is looked up in.
            return ()
        node = node.node
    if not parts or not isinstance(node, nodes.Name):
        return ()
    return (node.name, *reversed(parts))


def _sure(test: "nodes.Node", *, is_true: bool) -> frozenset[str]:
    """The steps that have surely succeeded where a condition holds, or where it does not."""
    from jinja2 import nodes

    if isinstance(test, nodes.Not):
        return _sure(test.node, is_true=not is_true)
    if isinstance(test, nodes.And if is_true else nodes.Or):
        return _sure(test.left, is_true=is_true) | _sure(test.right, is_true=is_true)
    parts: tuple[str, ...] = ()
    if isinstance(test, nodes.Test) and test.name == ("defined" if is_true else "undefined"):
        parts = chain(test.node)
    elif isinstance(test, nodes.Compare) and len(test.ops) == 1:
        operand = test.ops[0]
        is_success = isinstance(operand.expr, nodes.Const) and operand.expr.value == "succeeded"
        if is_success and operand.op == ("eq" if is_true else "ne"):
            parts = chain(test.expr)
            parts = parts if parts[2:] == ("status",) else ()
    return frozenset(parts[1:2]) if parts[:1] == ("steps",) else frozenset()


def guards_of(expression: str) -> frozenset[str]:
    """The steps that have surely succeeded where a `when` holds; raises ExpressionInvalid."""
    return _sure(parse(expression), is_true=True)


def conjuncts(tree: "nodes.Expr") -> list["nodes.Expr"]:
    """What must each hold for a condition to hold."""
    from jinja2 import nodes

    if isinstance(tree, nodes.And):
        return [*conjuncts(tree.left), *conjuncts(tree.right)]
    return [tree]


# --- values ---------------------------------------------------------------------------------


class Evaluator:
    """Gives templates their values. What is computed from a secret is a secret."""

    def __init__(self) -> None:
        self._compiled: dict[str, tuple[TemplateExpression, Sequence[Reference]]] = {}

    def value(self, template: Json, scope: Mapping[str, object]) -> Any:
        """The template with every expression replaced by its value: JSON with Secrets in it.

        A text that is one expression keeps the expression's type; mixed text is a string.

        Raises:
            ParametersInvalid: an expression has no value here.
        """
        match template:
            case str():
                return self._text(template, scope) if has_expression(template) else template
            case list():
                return [self.value(item, scope) for item in template]
            case dict():
                return {key: self.value(item, scope) for key, item in template.items()}
            case _:
                return template

    def truth(self, expression: str, scope: Mapping[str, object]) -> bool:
        """Whether a bare expression holds; raises ParametersInvalid."""
        value, origin = self._evaluate(expression, scope)
        if origin:
            raise _invalid(expression, "depends on a secret")
        if not isinstance(value, bool):
            raise _invalid(expression, f"expected true or false, found `{as_text(value)[:80]}`")
        return value

    def _text(self, text: str, scope: Mapping[str, object]) -> Any:
        try:
            pieces = split(text)
        except Unclosed as error:
            raise _invalid(error.fragment, str(error)) from None
        if len(pieces) == 1 and isinstance(pieces[0], Expression):
            value, origin = self._evaluate(pieces[0].text, scope)
            return _conceal(value, origin) if origin else value
        texts, origins = [], []
        for piece in pieces:
            if isinstance(piece, str):
                texts.append(piece)
                continue
            value, origin = self._evaluate(piece.text, scope)
            texts.append(as_text(value))
            origins += [origin] if origin else []
        joined = "".join(texts)
        if len(joined) > MAX_RESULT_CHARACTERS:
            raise _invalid(text[:80], "the result is too large")
        return Secret(joined, ", ".join(dict.fromkeys(origins))) if origins else joined

    def _evaluate(self, expression: str, scope: Mapping[str, object]) -> tuple[Json, str]:
        """An expression's value in the clear, and which secrets it comes from: mostly none."""
        from jinja2 import UndefinedError

        try:
            compiled, used = self._compile(expression)
            origins = [origin for name in used for origin in _origins(scope, name)]
            names = {name.parts[0] for name in used}
            value = compiled({name: _reveal(scope[name]) for name in names if name in scope})
            return _plain(value), ", ".join(dict.fromkeys(origins))
        except UndefinedError as error:
            raise _invalid(expression, str(error.message or "a name has no value")) from None
        except (ExpressionInvalid, ArithmeticError, TypeError, ValueError) as error:
            # The message may quote a value: only our own are known not to.
            is_ours = isinstance(error, ExpressionInvalid)
            reason = str(error) if is_ours else f"cannot be computed ({type(error).__name__})"
            raise _invalid(expression, reason) from None

    def _compile(self, expression: str) -> "tuple[TemplateExpression, Sequence[Reference]]":
        if expression not in self._compiled:
            used = references(expression)
            compiled = environment().compile_expression(expression, undefined_to_none=False)
            self._compiled[expression] = (compiled, used)
        return self._compiled[expression]


def _find(scope: Mapping[str, object], parts: Sequence[str]) -> object:
    """What a reference leads to, or the last thing on its way that has no parts."""
    found: object = scope
    for part in parts:
        if not isinstance(found, Mapping) or part not in found:
            return None if isinstance(found, Mapping) else found
        found = found[part]
    return found


def _origins(scope: Mapping[str, object], name: Reference) -> Iterator[str]:
    """What the secrets that a name leads to are, or were computed from."""
    for leaf in _leaves(_find(scope, name.parts)):
        if isinstance(leaf, Secret):
            yield leaf.origin or str(name)


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _reveal(value: object) -> object:
    match value:
        case Secret():
            return value.reveal()
        case Mapping():
            return {key: _reveal(item) for key, item in value.items()}
        case list() | tuple():
            return [_reveal(item) for item in value]
        case _:
            return value


def _conceal(value: Json, origin: str) -> Any:
    match value:
        case list():
            return [_conceal(item, origin) for item in value]
        case dict():
            return {key: _conceal(item, origin) for key, item in value.items()}
        case _:
            return Secret(as_text(value), origin)


def _plain(value: Any) -> Json:
    """The value as JSON, bounded; raises ExpressionInvalid, or jinja2's UndefinedError."""
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        str(value)  # raises, and says which name it was
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionInvalid("the result is too large for a number")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        if len(value) > MAX_RESULT_CHARACTERS:
            raise ExpressionInvalid("the result is too large")
        return str(value)
    raise ExpressionInvalid("gives something that is not data")


def _invalid(expression: str, reason: str) -> ParametersInvalid:
    return ParametersInvalid(
        f"`{expression}`: {reason}",
        hint="mend the runbook, or the input that it uses",
        changed=False,
        is_retryable=False,
    )
