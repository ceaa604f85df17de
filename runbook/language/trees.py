"""Syntax trees of expressions that need no run: what they give, and how they are written."""

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from runbook.core.plan import Json
from runbook.language.expressions import chain, conjuncts
from runbook.language.rewriting import literal
from runbook.language.sandbox import ExpressionInvalid, parse

if TYPE_CHECKING:
    from jinja2 import nodes

Name = tuple[str, ...]
"""`inputs.tag` in parts."""


def _is_same(left: object, right: object) -> bool:
    return isinstance(left, bool) is isinstance(right, bool) and left == right


_OPERATORS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "eq": ("==", _is_same),
    "ne": ("!=", lambda left, right: not _is_same(left, right)),
    "lt": ("<", operator.lt),
    "lteq": ("<=", operator.le),
    "gt": (">", operator.gt),
    "gteq": (">=", operator.ge),
    "in": ("in", lambda left, right: left in right),
    "notin": ("not in", lambda left, right: left not in right),
}


def computed(node: "nodes.Node", values: Mapping[Name, Json]) -> Any:
    """What an expression of `plain_nodes` and names gives; raises TypeError or KeyError."""
    from jinja2 import nodes

    match node:
        case nodes.Const():
            return node.value
        case nodes.List() | nodes.Tuple():
            return [computed(each, values) for each in node.items]
        case nodes.Neg():
            return -computed(node.node, values)
        case nodes.Not():
            return not computed(node.node, values)
        case nodes.And():
            return computed(node.left, values) and computed(node.right, values)
        case nodes.Or():
            return computed(node.left, values) or computed(node.right, values)
        case nodes.Compare():
            left = computed(node.expr, values)
            for operand in node.ops:
                right = computed(operand.expr, values)
                if not _OPERATORS[operand.op][1](left, right):
                    return False
                left = right
            return True
        case _:
            return values[chain(node)]


def implies(when: str | None, other: str | None) -> bool:
    """Whether one condition holds only where another does, by what is written."""
    if other in (None, "true", when):
        return True
    if when is None or other is None:
        return False
    try:
        own = conjuncts(parse(when))
        return all(part in own for part in conjuncts(parse(other)))
    except ExpressionInvalid:
        return True  # which is reported where it is written


def is_negative(comparison: "nodes.Compare") -> bool:
    """Whether it holds for all but what it names."""
    return len(comparison.ops) == 1 and comparison.ops[0].op in ("ne", "notin")


def kind_of(value: object) -> str:
    """`boolean`, `number` or `text`; empty: none of them."""
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case _:
            return ""


def said(node: "nodes.Node") -> str:
    """A piece of a condition as it is written; empty where that is not clear."""
    from jinja2 import nodes

    match node:
        case nodes.Const():
            return literal(node.value)
        case nodes.List() | nodes.Tuple():
            return "[" + ", ".join(map(said, node.items)) + "]"
        case nodes.Neg():
            return "-" + said(node.node)
        case nodes.Compare():
            pairs = (f" {_OPERATORS[each.op][0]} {said(each.expr)}" for each in node.ops)
            return said(node.expr) + "".join(pairs)
        case _:
            return ".".join(chain(node))


def all_of(tree: "nodes.Node", *types: str) -> list[Any]:
    """Every node of these types in a tree, itself included."""
    from jinja2 import nodes

    wanted = tuple(getattr(nodes, each) for each in types)
    return [*([tree] if isinstance(tree, wanted) else []), *tree.find_all(wanted)]


def plain_nodes() -> "tuple[type[nodes.Node], ...]":
    """What can be computed without a run."""
    from jinja2 import nodes

    plain = (nodes.Const, nodes.List, nodes.Tuple, nodes.Neg, nodes.Not, nodes.And, nodes.Or)
    return (*plain, nodes.Compare, nodes.Operand)
