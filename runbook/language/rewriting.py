"""Trees in which names are replaced: what loops and runbooks used as steps are written out by.

An expression that holds nothing but values afterwards becomes its value; where it is all that a
text holds, the text becomes that value, with its type. Every node keeps its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from runbook.core.plan import Json
from runbook.errors import ParametersInvalid
from runbook.language.diagnostics import Span
from runbook.language.expressions import Evaluator, Expression, references, split
from runbook.language.merging import with_entries, with_entry, with_items
from runbook.language.sandbox import ExpressionInvalid, as_text, environment
from runbook.language.source import Entry, Node

Resolve = Callable[[str, Sequence[str | int], Span], str | None]
"""What stands for `root.key…`, as text; absent: it stays. The place is for errors."""
Token = tuple[str, str]
"""Its kind, as Jinja calls it, and its text."""


def rewritten(node: Node, resolve: Resolve) -> Node:
    """A tree with every name in its expressions replaced."""
    if node.entries:
        entries = {
            key: replace(entry, node=rewritten(entry.node, resolve))
            for key, entry in node.entries.items()
        }
        return with_entries(node, entries)
    if node.items:
        return with_items(node, [rewritten(item, resolve) for item in node.items])
    return _text(node, node.value, resolve) if isinstance(node.value, str) else node


def rewritten_step(node: Node, resolve: Resolve) -> Node:
    """A step with every name replaced, in its bare condition too."""
    made = rewritten(node, resolve)
    when = node.entries.get("when")
    if when is None or not isinstance(when.node.value, str):
        return made
    return with_entry(made, replace(when, node=_rewritten_condition(when.node, resolve)))


def _rewritten_condition(node: Node, resolve: Resolve) -> Node:
    """A bare expression with every name replaced; a boolean where only values are left."""
    try:
        made = _value(str(node.value), node.span, resolve)
    except ExpressionInvalid:
        return node  # names.py says why
    return replace(node, value=made.text if isinstance(made, Expression) else made)


def rewritten_expression(text: str, span: Span, resolve: Resolve) -> str:
    """An expression with every name replaced; raises ExpressionInvalid."""
    tokens = _tokens(text)
    made: list[str] = []
    at = 0
    while at < len(tokens):
        kind, word = tokens[at]
        is_root = kind == "name" and not "".join(made).rstrip().endswith(".")
        keys, end = _chain(tokens, at + 1) if is_root else ([], at + 1)
        found = resolve(word, keys, span) if is_root else None
        made.append(word if found is None else found)
        at = at + 1 if found is None else end
    return "".join(made)


def as_expression(value: Json, span: Span, resolve: Resolve) -> str:
    """A value whose texts may hold expressions, as one expression; raises ExpressionInvalid."""
    if isinstance(value, list):
        return "[" + ", ".join(as_expression(each, span, resolve) for each in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{literal(k)}: {as_expression(v, span, resolve)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if not isinstance(value, str):
        return literal(value)
    pieces = split(value)
    made = [
        f"({rewritten_expression(piece.text, span, resolve)})"
        if isinstance(piece, Expression)
        else literal(piece)
        for piece in pieces
    ]
    if len(made) > 1:
        return "(" + " ~ ".join(f"({each} | string)" for each in made) + ")"
    return made[0] if made else literal("")


def _text(node: Node, text: str, resolve: Resolve) -> Node:
    try:
        made = [
            _value(piece.text, node.span, resolve) if isinstance(piece, Expression) else piece
            for piece in split(text)
        ]
    except ExpressionInvalid:
        return node  # names.py says why
    if len(made) == 1 and not isinstance(made[0], Expression):
        return node_of(made[0], node)
    parts = [
        "${{ " + part.text + " }}" if isinstance(part, Expression) else as_text(part)
        for part in made
    ]
    return replace(node, value="".join(parts))


def _value(text: str, span: Span, resolve: Resolve) -> "Expression | Json":
    """An expression's value, or what is left of it where it refers to anything."""
    made = rewritten_expression(text, span, resolve)
    if made == text or references(made):
        return Expression(made, made)
    try:
        value: Json = Evaluator().value("${{ " + made + " }}", {})
    except ParametersInvalid:
        return Expression(made, made)
    return value


# --- pieces ---------------------------------------------------------------------------------


def node_of(value: Json, place: Node) -> Node:
    """Plain data as a tree, all at one place."""
    if isinstance(value, dict):
        entries = {k: Entry(k, place.span, node_of(v, place)) for k, v in value.items()}
        return replace(place, value=value, entries=entries, items=[])
    if isinstance(value, list):
        return replace(place, value=value, items=[node_of(v, place) for v in value], entries={})
    return replace(place, value=value)


def _tokens(expression: str) -> list[Token]:
    """The pieces of an expression, blanks included; raises ExpressionInvalid."""
    from jinja2 import TemplateSyntaxError

    try:
        found = list(environment().lex("{{ " + expression + " }}"))
    except TemplateSyntaxError as error:
        raise ExpressionInvalid(error.message or "cannot be read") from None
    return [(kind, text) for _line, kind, text in found[2:-2]]


def _chain(tokens: Sequence[Token], at: int) -> tuple[list[str | int], int]:
    """The keys of `.a.b['c'][0]`, and where it ends."""
    keys: list[str | int] = []
    while True:
        head = [text for _kind, text in tokens[at : at + 3]]
        if head[:1] == ["."] and at + 1 < len(tokens) and tokens[at + 1][0] in ("name", "integer"):
            keys.append(int(head[1]) if tokens[at + 1][0] == "integer" else head[1])
            at += 2
        elif (head[:1], head[2:]) == (["["], ["]"]) and tokens[at + 1][0] in _KEYS:
            is_number = tokens[at + 1][0] == "integer"
            keys.append(int(head[1]) if is_number else head[1][1:-1])
            at += 3
        else:
            return keys, at


def keys_text(keys: Sequence[str | int]) -> str:
    """Keys as they follow a value in an expression."""
    return "".join(f"[{literal(key)}]" for key in keys)


def literal(value: Json) -> str:
    """A value as an expression writes it."""
    if isinstance(value, bool) or value is None:
        return "none" if value is None else str(value).lower()
    if isinstance(value, str):
        escaped = "".join(_ESCAPES.get(character, character) for character in value)
        return f"'{escaped}'"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, dict):
        pairs = (f"{literal(key)}: {literal(each)}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    return f"({value})" if value < 0 else str(value)


_KEYS = ("string", "integer")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
