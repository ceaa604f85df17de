"""Conditions that can never hold, or are neither true nor false: `when`, and what is asserted.

Each is tried with all that its names may be (domains.py). What depends on anything else, such as
a step's outputs, may hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from runbook.core.plan import Json
from runbook.language.diagnostics import Span, did_you_mean, one_of
from runbook.language.document import Document, Step
from runbook.language.domains import Domain, domain_of
from runbook.language.expressions import Expression, Unclosed, chain, conjuncts, split
from runbook.language.inputs import measure
from runbook.language.rewriting import literal
from runbook.language.sandbox import ExpressionInvalid, parse
from runbook.language.source import Node
from runbook.language.trees import (
    Name,
    all_of,
    computed,
    is_negative,
    kind_of,
    plain_nodes,
    said,
)

if TYPE_CHECKING:
    from jinja2 import nodes

_ASSERT = "assert"
_MOST_TRIES = 200
_EQUALITY = ("eq", "ne")
_KINDS = {"boolean": "a boolean", "number": "a number", "text": "text", "list": "a list"}
_KINDS_OF_FILTERS = {
    **dict.fromkeys(("length", "int", "float", "round", "abs"), "number"),
    **dict.fromkeys(("upper", "lower", "trim", "join", "replace", "string", "tojson"), "text"),
    "split": "list",
}
_YES = ("true", "yes", "on")
_NO = ("false", "no", "off")


class _Unknown(Exception):
    """It depends on what nobody knows before the run."""


def check_conditions(document: Document) -> None:
    """Note every condition that is neither true nor false, or that nothing can make true."""
    copies = {each for ids in document.source.copies.values() for each in ids}
    for step in document.steps:
        for key, node, expression in _conditions(step):
            with suppress(ExpressionInvalid):
                condition = _Condition(document, step, key, node, parse(expression))
                condition.check(is_copy=step.id in copies)


def _conditions(step: Step) -> Iterator[tuple[str, Node, str]]:
    when = step.node.get("when")
    if when is not None and step.when is not None:
        yield "when", when, step.when
    that = step.parameters.get("that") if step.kind_name == _ASSERT and step.parameters else None
    if that is not None and isinstance(that.value, str):
        with suppress(Unclosed):
            match split(that.value):
                case [Expression() as whole]:
                    yield "that", that, whole.text
                case _:
                    pass


@dataclass(slots=True)
class _Condition:
    document: Document
    step: Step
    key: str
    node: Node
    tree: "nodes.Expr"
    domains: dict[Name, Domain] = field(default_factory=dict)
    """What its names may be, as far as that is known."""

    def __post_init__(self) -> None:
        constants = [each.value for each in all_of(self.tree, "Const")]
        names = {chain(each) for each in all_of(self.tree, "Getattr", "Getitem")}
        compared = (all_of(each, "Getattr", "Getitem") for each in all_of(self.tree, "Compare"))
        for _ in range(2 if any(len(each) > 1 for each in compared) else 1):
            # In a second turn with what the others may be, which they are compared with.
            found = {n: domain_of(self.document, self.step, n, constants) for n in names if n}
            self.domains = {name: domain for name, domain in found.items() if domain}
            constants += [value for domain in self.domains.values() for value in domain.values]

    def check(self, *, is_copy: bool) -> None:
        """Note what is wrong; of a step that was written out, only where a name stands."""
        unfit = self._unfit(self.tree)
        if unfit:
            self._report_unfit(*unfit)
            return
        if not all_of(self.tree, "Name"):
            if self.key == "when" and not is_copy:
                self._warn_of_constant_condition()
            return
        comparisons = [each for each in all_of(self.tree, "Compare") if self._never_holds(each)]
        for comparison in comparisons:
            self._warn_of(comparison)
        known = [each for each in conjuncts(self.tree) if self._is_known(each)]
        can_hold = all(self._may_hold(group) for group in self._groups(known))
        if not comparisons and not is_copy and self._names(known) and not can_hold:
            what = "never runs: `when`" if self.key == "when" else "always fails: `that`"
            message = f"{self.step.label} {what} cannot hold, whatever its names are"
            self.step.source.warn("RB453", message, self.node.span)

    # --- whether it is true or false ---

    def _unfit(self, node: "nodes.Node") -> "tuple[nodes.Node, str] | None":
        """What the condition may end with that is no boolean, and what it is."""
        from jinja2 import nodes

        match node:
            case nodes.And() | nodes.Or():
                return self._unfit(node.left) or self._unfit(node.right)
            case nodes.CondExpr():
                return self._unfit(node.expr1) or (self._unfit(node.expr2) if node.expr2 else None)
            case _:
                kind = self._kind(node)
                return (node, kind) if kind not in ("", "boolean") else None

    def _kind(self, node: "nodes.Node") -> str:
        """Of what kind a value is; empty: that is unknown."""
        from jinja2 import nodes

        name = chain(node)
        if name:
            return self.domains[name].kind if name in self.domains else ""
        match node:
            case nodes.Const():
                return kind_of(node.value)
            case nodes.Filter():
                return _KINDS_OF_FILTERS.get(node.name, "")
            case nodes.Concat():
                return "text"
            case nodes.List() | nodes.Tuple():
                return "list"
            case nodes.Sub() | nodes.Mul() | nodes.Div() | nodes.FloorDiv() | nodes.Mod():
                return "number"
            case nodes.Neg() | nodes.Pos():
                return "number"
            case nodes.Add():
                return self._kind(node.left) or self._kind(node.right)
            case _:
                return ""

    def _report_unfit(self, node: "nodes.Node", kind: str) -> None:
        written = said(node)
        message = f"`{self.key}` must be true or false, and "
        message += f"`{written}` is {_KINDS[kind]}" if written else f"this is {_KINDS[kind]}"
        compared = {"number": "> 0", "text": "== '…'"}.get(kind)
        hint = (
            f"compare it: `{written} {compared}`" if written and compared and chain(node) else None
        )
        self.step.source.error("RB414", message, self._span(written), hint)

    # --- whether it can hold ---

    def _never_holds(self, comparison: "nodes.Compare") -> bool:
        """Whether nothing makes it true or, of a negative one, false."""
        if not self._is_known(comparison) or not self._names([comparison]):
            return False
        if is_negative(comparison):
            return not any(
                self._value(comparison, each) is False for each in self._tries([comparison])
            )
        return not self._may_hold([comparison])

    def _may_hold(self, parts: "Sequence[nodes.Node]") -> bool:
        tries = self._tries(parts)
        return any(all(self._value(part, each) is True for part in parts) for each in tries)

    def _groups(self, parts: "Sequence[nodes.Node]") -> "Iterator[list[nodes.Node]]":
        """Conditions by what they speak of: those of different groups share no name."""
        groups: list[tuple[set[Name], list[nodes.Node]]] = []
        for part in parts:
            names = self._names([part])
            joined = [each for each in groups if each[0] & names]
            groups = [each for each in groups if each not in joined]
            members = [member for each in joined for member in each[1]]
            groups.append((names.union(*(each[0] for each in joined)), [*members, part]))
        return (members for names, members in groups if self._is_small(names))

    def _is_small(self, names: set[Name]) -> bool:
        return prod(len(self.domains[name].values) for name in names) <= _MOST_TRIES

    def _tries(self, parts: "Sequence[nodes.Node]") -> Iterator[Mapping[Name, Json]]:
        names = sorted(self._names(parts))
        for values in product(*(self.domains[name].values for name in names)):
            yield dict(zip(names, values, strict=True))

    def _is_known(self, node: "nodes.Node") -> bool:
        """Whether all that it depends on can be tried."""
        try:
            names = self._names([node])
        except _Unknown:
            return False
        return self._is_small(names)

    def _names(self, parts: "Sequence[nodes.Node]") -> set[Name]:
        """The names in it; raises _Unknown."""
        from jinja2 import nodes

        found: set[Name] = set()
        for node in parts:
            name = chain(node)
            if name:
                if name not in self.domains:
                    raise _Unknown
                found.add(name)
            elif isinstance(node, plain_nodes()):
                if isinstance(node, nodes.Compare):
                    self._refuse_open(node)
                found |= self._names(list(node.iter_child_nodes()))
            else:
                raise _Unknown
        return found

    def _refuse_open(self, comparison: "nodes.Compare") -> None:
        """Raise _Unknown where some text that is not tried might fit: by order, or as a part."""
        from jinja2 import nodes

        operands = [comparison.expr, *(each.expr for each in comparison.ops)]
        domains = [self.domains.get(chain(each)) for each in operands]
        has_open_text = any(each and each.kind == "text" and not each.is_listed for each in domains)
        has_texts = sum(self._kind(each) == "text" for each in operands) > 1
        is_plain = all(
            each.op in _EQUALITY or isinstance(each.expr, nodes.List | nodes.Tuple)
            for each in comparison.ops
        )
        if has_open_text and has_texts and not is_plain:
            raise _Unknown

    def _value(self, node: "nodes.Node", values: Mapping[Name, Json]) -> Any:
        """What it gives; nothing where that cannot be computed."""
        try:
            return computed(node, values)
        except TypeError:
            return None

    # --- what is said ---

    def _warn_of_constant_condition(self) -> None:
        text = self.step.when or ""
        message = f"`when: {text}` does not depend on anything"
        if text.lower() in ("false", "not true"):
            message = f"{self.step.label} never runs: `when` is false"
        if text.lower() not in ("true", "not false"):
            self.step.source.warn("RB452", message, self.node.span)

    def _warn_of(self, comparison: "nodes.Compare") -> None:
        from jinja2 import nodes

        names = sorted(self._names([comparison]))
        sides = [comparison.expr, *(each.expr for each in comparison.ops)]
        constants = [each.value for each in sides if isinstance(each, nodes.Const)]
        is_equality = len(sides) == 2 and comparison.ops[0].op in _EQUALITY
        if is_equality and len(constants) == len(names) == 1:
            self._warn_of_constant(comparison, names[0], constants[0])
            return
        dotted, domain = ".".join(names[0]), self.domains[names[0]]
        is_choice = domain.kind == "text" and domain.is_listed
        words = one_of(map(str, domain.values)) if is_choice else domain.words
        message = f"`{said(comparison)}` {'always' if is_negative(comparison) else 'never'} holds"
        span = self._span(dotted, said(comparison))
        self.step.source.warn("RB453", message, span, f"`{dotted}` is {words}")

    def _warn_of_constant(self, comparison: "nodes.Compare", name: Name, constant: Json) -> None:
        dotted, domain = ".".join(name), self.domains[name]
        shown = constant if isinstance(constant, str) else literal(constant)
        hint: str | None = f"it is {domain.words}"
        if kind_of(constant) not in ("", domain.kind):
            message = f"`{dotted}` is {_KINDS[domain.kind]}, never `{literal(constant)}`"
            hint = _written_as(domain, constant)
        else:
            message = f"`{dotted}` is never `{shown}`"
            if domain.is_listed:
                known = [each if isinstance(each, str) else literal(each) for each in domain.values]
                hint = did_you_mean(shown, known)
        span = self._span(shown, said(comparison))
        self.step.source.warn("RB453", message, span, hint)

    def _span(self, text: str, within: str = "") -> Span:
        """Where a text stands in the condition; the whole of it where that is unclear."""
        whole = self.step.source.part(self.node, within)
        if whole == self.node.span:
            return self.step.source.part(self.node, text)
        column = whole.column + within.rindex(text)
        return replace(whole, column=column, end_column=column + len(text))


def _written_as(domain: Domain, constant: Json) -> str | None:
    """How to write what was meant by a constant of another kind."""
    text = constant if isinstance(constant, str) else literal(constant)
    if domain.kind == "boolean":
        word = text.lower()
        meant = "true" if word in _YES else "false" if word in _NO else ""
        return f"write `{meant}`" if meant else "expected `true` or `false`"
    if domain.kind == "text":
        return f"quote it: `'{text}'`"
    try:
        number = measure(domain.unit, text) if domain.unit else float(text)
    except ValueError:
        return f"it is {domain.words}"
    return f"write `{number:g}`"
