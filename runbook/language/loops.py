"""Loops: a `for_each` is written out before anything is checked, as if its author had done so.

So all that is known of steps holds for those of a loop: how they are checked, planned, shown,
killed and resumed. Each item's steps get ids of their own (`dump` becomes `dump_orders`), and the
loop's name is replaced by the item wherever an expression uses it.

The list must be known when the run is planned: what a step finds out would change the plan that was
shown, approved and pinned. See docs/adr/0020-loops-are-written-out.md.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runbook.core.plan import Json
from runbook.errors import ParametersInvalid
from runbook.language.diagnostics import Span, did_you_mean
from runbook.language.expressions import Evaluator, Expression, references, split
from runbook.language.merging import with_entries, with_entry, with_items
from runbook.language.sandbox import ExpressionInvalid, as_text, environment
from runbook.language.source import Entry, Node, Source

MAX_STEPS = 500
"""So many steps may come of the loops of one runbook."""
_TAKEN = frozenset(
    {"inputs", "vars", "env", "run", "steps", "secrets", "resources", "failure"}
    | {"true", "false", "none", "not", "and", "or", "in", "is", "if", "else"}
)
Token = tuple[str, str]
"""Its kind, as Jinja calls it, and its text."""


def write_out(source: Source, project: Source | None) -> Source:
    """A runbook with its loops written out; what is wrong with one is noted, and it is left out."""
    if not _has_loop(source.root.get("steps")):
        return source
    declared = dict(project.root.mapping("vars")) if project else {}
    writer = _Writer(source, {**declared, **source.root.mapping("vars")})
    entry = source.root.entries["steps"]
    items = writer.sequence(entry.node.items, _Turn())
    root = with_entry(source.root, replace(entry, node=with_items(entry.node, items)))
    return replace(source, root=root, loops=dict(writer.copies))


def _has_loop(node: Node | None) -> bool:
    if node is None:
        return False
    inner = [*node.items, *(node.entries[key].node for key in _GROUPS if key in node.entries)]
    return "for_each" in node.entries or any(map(_has_loop, inner))


_GROUPS = ("parallel", "steps", "for_each")


@dataclass(frozen=True, slots=True)
class _Turn:
    """One pass through the bodies of all loops that surround a step."""

    items: Mapping[str, Json] = field(default_factory=dict)
    """The item of each loop, by the loop's name."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """The ids that the steps of these bodies get, by those that were written."""


@dataclass(slots=True, eq=False)
class _Writer:
    source: Source
    vars: Mapping[str, Entry]
    copies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The ids that a step of a loop got, by the one that was written."""
    count: int = 0

    def sequence(self, nodes: Iterable[Node], turn: _Turn) -> list[Node]:
        """Steps and groups that follow one another."""
        found: list[Node] = []
        for node in nodes:
            loop, group = node.get("for_each"), node.get("parallel")
            if loop is not None:
                found += self._loop(node, loop, turn)
            elif group is not None:
                branches = [branch for each in group.items for branch in self._branch(each, turn)]
                found.append(_with(node, "parallel", with_items(group, branches)))
            else:
                found.append(self._step(node, turn))
        return found

    def _branch(self, node: Node, turn: _Turn) -> list[Node]:
        inner = node.get("steps")
        if inner is not None:
            return [_with(node, "steps", with_items(inner, self.sequence(inner.items, turn)))]
        found = self.sequence([node], turn)
        return found if len(found) < 2 else [_branch_of(node, found)]

    def _loop(self, node: Node, loop: Node, turn: _Turn) -> list[Node]:
        name, body = loop.text_of("as") or "", loop.get("steps")
        items = self._items(loop.get("in"), turn)
        if not self._is_free(name, loop.get("as"), turn) or items is None or body is None:
            return []
        written = list(_ids_in(body))
        turns = [
            _Turn(
                {**turn.items, name: item},
                {**turn.ids, **{each: f"{turn.ids.get(each, each)}_{label}" for each in written}},
            )
            for item, label in zip(items, _labels(items), strict=True)
        ]
        self.count += len(turns) * len(written)
        if self.count > MAX_STEPS:
            message = f"the loops of this runbook make more than {MAX_STEPS} steps"
            self.source.error("RB315", message, node.span)
            return []
        return self._lanes(loop, [self.sequence(body.items, each) for each in turns])

    def _lanes(self, loop: Node, passes: Sequence[list[Node]]) -> list[Node]:
        """The passes one after the other, or in as many lanes as may run at once."""
        wanted = loop.get("max_parallel")
        count = min(int(str(wanted.value)) if wanted else 1, len(passes))
        if count < 2:
            return [node for each in passes for node in each]
        lanes = [[node for each in passes[first::count] for node in each] for first in range(count)]
        group = Node(loop.span)
        branches = with_items(group, [_branch_of(loop, lane) for lane in lanes])
        return [_with(group, "parallel", branches)]

    def _is_free(self, name: str, node: Node | None, turn: _Turn) -> bool:
        if node is None or (name not in _TAKEN and name not in turn.items):
            return True
        message = f"`{name}` means something else already"
        self.source.error("RB316", message, node.span, "call the loop's item something else")
        return False

    def _items(self, node: Node | None, turn: _Turn) -> list[Json] | None:
        """The list that a loop goes through; absent: it is none, which is noted."""
        if node is None or not isinstance(node.value, str | list):
            return None
        value = self._rewritten(node, turn).value
        found = self._variable(value) if isinstance(value, str) else value
        if isinstance(found, list) and not any(map(_holds_expression, found)):
            return found
        message = "the list of a loop must be known when the run is planned"
        hint = "write the list here, or under `vars` and `in: ${{ vars.NAME }}`"
        self.source.error("RB315", message, node.span, hint)
        return None

    def _variable(self, text: str) -> Json:
        """The value of the variable that is all that a text names."""
        try:
            (piece,) = split(text)
            expression = piece.text if isinstance(piece, Expression) else ""
            (reference,) = references(expression)
        except ValueError:  # ExpressionInvalid is one
            return None
        root, name, *rest = reference.parts
        entry = self.vars.get(name)
        if root != "vars" or entry is None or str(reference) != expression:
            return None
        value: Json = entry.node.value
        for key in rest:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    # --- one step ---------------------------------------------------------------------------

    def _step(self, node: Node, turn: _Turn) -> Node:
        if not turn.items:
            return node
        made = self._rewritten(node, turn)
        when = node.entries.get("when")
        if when is not None and isinstance(when.node.value, str):
            made = _with(made, "when", self._condition(when.node, when.node.value, turn))
        written = node.text_of("id") or ""
        if written in turn.ids:
            self.copies[written] = (*self.copies.get(written, ()), turn.ids[written])
            given = replace(made.entries["id"].node, value=turn.ids[written])
            made = _with(made, "id", given)
        return made

    def _rewritten(self, node: Node, turn: _Turn) -> Node:
        if node.entries:
            return with_entries(
                node,
                {
                    key: replace(entry, node=self._rewritten(entry.node, turn))
                    for key, entry in node.entries.items()
                },
            )
        if node.items:
            return with_items(node, [self._rewritten(item, turn) for item in node.items])
        return self._text(node, node.value, turn) if isinstance(node.value, str) else node

    def _text(self, node: Node, text: str, turn: _Turn) -> Node:
        """A text in which every expression that only the loop's items stand in has its value."""
        try:
            pieces = split(text)
            made = [
                self._value(piece.text, node.span, turn) if isinstance(piece, Expression) else piece
                for piece in pieces
            ]
        except ExpressionInvalid:
            return node  # names.py says why
        if len(made) == 1 and not isinstance(made[0], Expression):
            return _node_of(made[0], node)
        parts = [
            "${{ " + part.text + " }}" if isinstance(part, Expression) else as_text(part)
            for part in made
        ]
        return replace(node, value="".join(parts))

    def _condition(self, node: Node, text: str, turn: _Turn) -> Node:
        try:
            made = self._value(text, node.span, turn)
        except ExpressionInvalid:
            return node
        return replace(node, value=made.text if isinstance(made, Expression) else made)

    def _value(self, text: str, span: Span, turn: _Turn) -> "Expression | Json":
        """An expression's value, or what is left of it where it does not depend on items alone."""
        rewritten = self._replaced(text, span, turn)
        if rewritten == text or references(rewritten):
            return Expression(rewritten, rewritten)
        try:
            value: Json = Evaluator().value("${{ " + rewritten + " }}", {})
        except ParametersInvalid:
            return Expression(rewritten, rewritten)
        return value

    def _replaced(self, text: str, span: Span, turn: _Turn) -> str:
        """An expression with items for the loops' names, and the ids that steps got."""
        tokens = _tokens(text)
        made: list[str] = []
        at = 0
        while at < len(tokens):
            kind, word = tokens[at]
            is_root = kind == "name" and not (made and "".join(made).rstrip().endswith("."))
            keys, end = _chain(tokens, at + 1) if is_root else ([], at + 1)
            if is_root and word in turn.items:
                made.append(_literal(self._part(word, turn.items[word], keys, span)))
            elif is_root and word == "steps" and keys and keys[0] in turn.ids:
                made.append(".".join(["steps", turn.ids[str(keys[0])], *map(str, keys[1:])]))
            else:
                made.append(word)
                end = at + 1
            at = end
        return "".join(made)

    def _part(self, name: str, item: Json, keys: Sequence[str | int], span: Span) -> Json:
        value = item
        for key in keys:
            if isinstance(value, dict) and key in value:
                value = value[str(key)]
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                hint = did_you_mean(str(key), value) if isinstance(value, dict) else None
                message = f"`{name}` of this loop has no `{key}` in every item"
                self.source.error("RB301", message, span, hint)
                return None
        return value


# --- pieces ---------------------------------------------------------------------------------


def _with(node: Node, key: str, value: Node) -> Node:
    entry = node.entries.get(key) or Entry(key, node.span, value)
    return with_entry(node, replace(entry, node=value))


def _branch_of(place: Node, steps: list[Node]) -> Node:
    group = Node(place.span)
    return _with(group, "steps", with_items(group, steps))


def _ids_in(body: Node) -> Iterable[str]:
    for node in body.items:
        written = node.text_of("id")
        if written is not None:
            yield written
        for key in ("parallel", "steps", "for_each"):
            inner = node.get(key)
            if inner is not None:
                yield from _ids_in(inner.get("steps") or inner)


def _labels(items: Sequence[Json]) -> list[str]:
    """What is added to the ids for each item: its text or name where these differ, or a number."""
    texts = [item.get("name") if isinstance(item, dict) else item for item in items]
    labels = [re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_") for text in texts]
    are_told_apart = len(set(labels)) == len(labels) and all(labels)
    is_text = all(isinstance(text, str | int) and not isinstance(text, bool) for text in texts)
    return labels if are_told_apart and is_text else [str(n) for n in range(1, len(items) + 1)]


def _holds_expression(value: Json) -> bool:
    if isinstance(value, str):
        return "${{" in value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_expression, inner))


def _node_of(value: Json, place: Node) -> Node:
    """Plain data as a tree, all at one place."""
    if isinstance(value, dict):
        entries = {k: Entry(k, place.span, _node_of(v, place)) for k, v in value.items()}
        return replace(place, value=value, entries=entries, items=[])
    if isinstance(value, list):
        return replace(place, value=value, items=[_node_of(v, place) for v in value], entries={})
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


def _literal(value: Json) -> str:
    """A value as an expression writes it."""
    if isinstance(value, bool) or value is None:
        return "none" if value is None else str(value).lower()
    if isinstance(value, str):
        escaped = "".join(_ESCAPES.get(character, character) for character in value)
        return f"'{escaped}'"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, dict):
        pairs = (f"{_literal(key)}: {_literal(each)}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    return f"({value})" if value < 0 else str(value)


_KEYS = ("string", "integer")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
