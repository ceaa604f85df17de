"""Loops, and runbooks used as steps, are written out before anything is checked: as by hand.

So all that is known of steps holds for those of a loop: how they are checked, planned, shown,
killed and resumed. Each item's steps get ids of their own (`dump` becomes `dump_orders`), and the
loop's name is replaced by the item wherever an expression uses it.

The list must be known when the run is planned: what a step finds out would change the plan that was
shown, approved and pinned. See docs/adr/0020-loops-are-written-out.md; for runbooks used as steps,
subrunbooks.py.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runbook.core.plan import Json
from runbook.language.diagnostics import Span, did_you_mean
from runbook.language.expressions import Expression, references, split
from runbook.language.merging import with_entry, with_items
from runbook.language.rewriting import Resolve, literal, rewritten, rewritten_step
from runbook.language.source import Entry, Node, Source
from runbook.language.subrunbooks import KIND, Used, adopt, outputs_resolver, step_ids, use

if TYPE_CHECKING:
    from runbook.language.document import Document

MAX_STEPS = 500
"""So many steps may come of the loops of one runbook, and of the runbooks that it uses."""
_TAKEN = frozenset(
    {"inputs", "vars", "env", "run", "steps", "secrets", "resources", "failure"}
    | {"true", "false", "none", "not", "and", "or", "in", "is", "if", "else"}
)


Read = Callable[[Node], "Document | None"]
"""The runbook that a node names; absent: there is none that can be used, as noted."""


def write_out(source: Source, project: Source | None, read: Read) -> Source:
    """A runbook that is all steps; what is wrong with what it is made of is noted, and left out."""
    if not _is_made_of_more(source.root.get("steps")):
        return source
    declared = dict(project.root.mapping("vars")) if project else {}
    writer = _Writer(source, {**declared, **source.root.mapping("vars")}, read)
    entry = source.root.entries["steps"]
    items = writer.sequence(entry.node.items, _Turn())
    if not items and not any(found.is_error for found in source.diagnostics):
        source.error("RB315", "no step is left: every loop goes over an empty list", entry.key_span)
    root = with_entry(source.root, replace(entry, node=with_items(entry.node, items)))
    for runbook in writer.runbooks:
        root = adopt(root, source, project, runbook, writer.vars)
    if writer.used:
        root = _with_outputs(root, outputs_resolver(source, writer.used))
    return replace(source, root=root, copies=dict(writer.copies), used=writer.sources())


def _is_made_of_more(node: Node | None) -> bool:
    if node is None:
        return False
    inner = [*node.items, *(node.entries[key].node for key in _GROUPS if key in node.entries)]
    is_more = "for_each" in node.entries or node.text_of("uses") == KIND
    return is_more or any(map(_is_made_of_more, inner))


def _with_outputs(root: Node, resolve: Resolve) -> Node:
    for key in ("steps", "finally", "on_failure", "outputs"):
        change = _each_step if key in ("steps", "finally") else rewritten
        entry = root.entries.get(key)
        if entry is not None:
            root = with_entry(root, replace(entry, node=change(entry.node, resolve)))
    return root


def _each_step(node: Node, resolve: Resolve) -> Node:
    if node.items:
        return with_items(node, [_each_step(item, resolve) for item in node.items])
    for key in _GROUPS:
        entry = node.entries.get(key)
        if entry is not None:
            return with_entry(node, replace(entry, node=_each_step(entry.node, resolve)))
    return rewritten_step(node, resolve)


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
    read: Read
    copies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The ids of what a step was written out to, by the one that was written."""
    used: dict[str, Used] = field(default_factory=dict)
    """By the id of a step that uses a runbook."""
    runbooks: "list[Document]" = field(default_factory=list)
    count: int = 0

    def sources(self) -> tuple[Source, ...]:
        """Every other file that steps were taken from, or that stands beside one."""
        found = [
            each
            for runbook in self.runbooks
            for each in (runbook.source, runbook.project, *runbook.source.used)
        ]
        return tuple(dict.fromkeys(each for each in found if each))

    def sequence(self, nodes: Iterable[Node], turn: _Turn) -> list[Node]:
        """Steps and groups that follow one another."""
        found: list[Node] = []
        for node in nodes:
            loop, group = node.get("for_each"), node.get("parallel")
            if loop is not None:
                found += self._loop(node, loop, turn)
            elif group is not None:
                branches = [branch for each in group.items for branch in self._branch(each, turn)]
                if branches:
                    found.append(_with(node, "parallel", with_items(group, branches)))
            elif node.text_of("uses") == KIND:
                found += self._runbook(self._step(node, turn), node.text_of("id") or "")
            else:
                found.append(self._step(node, turn))
        return found

    def _runbook(self, step: Node, written: str) -> list[Node]:
        step_id = step.text_of("id") or ""
        for each in (written, step_id):
            self.copies.setdefault(each, ())
        given = step.get("with")
        named = given.get("runbook") if given else None
        runbook = self.read(named) if named else None
        if runbook is None:
            return []
        if runbook not in self.runbooks:
            self.runbooks.append(runbook)
        used = use(self.source, step, runbook, self.vars)
        if used is None:
            return []
        added = len(used.ids) - 1
        if not self._has_room(added, "the runbooks that this one uses", step.span):
            return []
        self.used[step_id] = used
        for each in dict.fromkeys((written, step_id)):
            known = [copy for copy in self.copies.get(each, ()) if copy != step_id]
            self.copies[each] = (*known, *used.ids)
        return used.steps

    def _has_room(self, added: int, what: str, span: Span) -> bool:
        """Whether so many more steps may come of what is written; noted if not."""
        had_room = self.count <= MAX_STEPS
        self.count += added
        if had_room and self.count > MAX_STEPS:
            self.source.error("RB315", f"{what} make more than {MAX_STEPS} steps", span)
        return self.count <= MAX_STEPS

    def _branch(self, node: Node, turn: _Turn) -> list[Node]:
        inner = node.get("steps")
        found = self.sequence(inner.items if inner else [node], turn)
        if inner and found:
            return [_with(node, "steps", with_items(inner, found))]
        return found if len(found) < 2 else [_branch_of(node, found)]

    def _loop(self, node: Node, loop: Node, turn: _Turn) -> list[Node]:
        name, body = loop.text_of("as") or "", loop.get("steps")
        items = self._items(loop.get("in"), turn)
        written = list(step_ids(body.items)) if body else []
        for each in written:
            self.copies.setdefault(each, ())
        if not self._is_free(name, loop.get("as"), turn) or items is None or body is None:
            return []
        turns = [
            _Turn(
                {**turn.items, name: item},
                {**turn.ids, **{each: f"{turn.ids.get(each, each)}_{label}" for each in written}},
            )
            for item, label in zip(items, _labels(items), strict=True)
        ]
        if not self._has_room(len(turns) * len(written), "the loops of this runbook", node.span):
            return []
        return self._lanes(loop, [self.sequence(body.items, each) for each in turns])

    def _lanes(self, loop: Node, passes: Sequence[list[Node]]) -> list[Node]:
        """The passes one after the other, or in as many lanes as may run at once."""
        wanted = loop.get("max_parallel")
        most = wanted.value if wanted and isinstance(wanted.value, int | float) else 1
        count = int(min(most, len(passes)))
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
        value = rewritten(node, self._resolve(turn)).value
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
        made = rewritten_step(node, self._resolve(turn))
        written = node.text_of("id") or ""
        if written in turn.ids:
            self.copies[written] = (*self.copies.get(written, ()), turn.ids[written])
            given = replace(made.entries["id"].node, value=turn.ids[written])
            made = _with(made, "id", given)
        return made

    def _resolve(self, turn: _Turn) -> Resolve:
        """Items for the loops' names, and the ids that steps got."""

        def resolve(root: str, keys: Sequence[str | int], span: Span) -> str | None:
            if root in turn.items:
                return literal(self._part(root, turn.items[root], keys, span))
            if root == "steps" and keys and keys[0] in turn.ids:
                return ".".join(["steps", turn.ids[str(keys[0])], *map(str, keys[1:])])
            return None

        return resolve

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
