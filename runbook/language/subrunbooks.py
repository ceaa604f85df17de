"""Runbooks that are used as a step: written out in its place, before anything is checked.

Each of their steps gets the using step's id in front of its own (`dump` of `uses: runbook` with the
id `backup` becomes `backup_dump`); their inputs and variables are replaced by what they are given.
What the runbook has under `outputs` stands for `steps.backup.outputs`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runbook.language.diagnostics import Span, did_you_mean
from runbook.language.expressions import has_expression, references_in
from runbook.language.given import Known, Misgiven, check_computed, gives_secret, held
from runbook.language.inputs import check_value
from runbook.language.merging import placed_in, with_entries, with_entry, with_items
from runbook.language.rewriting import Resolve, as_expression, keys_text, literal, rewritten_step
from runbook.language.sandbox import ExpressionInvalid
from runbook.language.source import Entry, Node, Source

if TYPE_CHECKING:
    from runbook.language.document import Declared, Document

KIND = "runbook"
"""What `uses` says."""
_NOT_OF_A_STEP = ("for", "on_failure", "finally", "lock")
"""What only a runbook that runs by itself may have."""
_ADOPTED = ("resources", "secrets")


@dataclass(frozen=True, slots=True)
class Used:
    """What came of one step that uses a runbook."""

    name: str
    steps: list[Node]
    ids: tuple[str, ...]
    outputs: Mapping[str, str]
    """As expressions."""


def use(
    source: Source, step: Node, runbook: "Document", variables: Mapping[str, Entry]
) -> Used | None:
    """The steps of a runbook in place of the one that uses it; absent: it cannot be used, as noted.

    `source` is the file that the step stands in, `variables` are those that it has.
    """
    given = step.get("with") or step
    named = given.get("runbook") or step
    for key in _NOT_OF_A_STEP:
        if key in runbook.root.entries:
            message = f"`{named.value}` cannot be used as a step: it has `{key}`"
            source.error("RB317", message, named.span, "take that into the runbook that uses it")
            return None
    known = {"inputs": source.root.mapping("inputs"), "vars": variables}
    inputs = _inputs(source, step, runbook, known)
    if inputs is None:
        return None
    prefix = step.text_of("id") or ""
    body = runbook.root.get("steps")
    written = body.items if body else []
    ids = {each: f"{prefix}_{each}" for each in step_ids(written)}
    resolve = _resolver(runbook, inputs, ids)
    nodes = [placed_in(node, runbook.source) for node in written]
    outputs = runbook.root.mapping("outputs")
    try:
        return Used(
            runbook.name,
            [_within(node, step, ids, resolve) for node in nodes],
            tuple(ids.values()),
            {k: as_expression(e.node.value, e.node.span, resolve) for k, e in outputs.items()},
        )
    except ExpressionInvalid:
        return None  # the runbook's own check says why


def adopt(
    root: Node,
    source: Source,
    project: Source | None,
    runbook: "Document",
    variables: Mapping[str, Entry],
) -> Node:
    """A runbook's root with the resources and secrets of one that it uses.

    `variables` are those of the runbook that uses it: a resource is computed from them.
    """
    for key in _ADOPTED:
        own = dict(project.root.mapping(key)) if project else {}
        own |= root.mapping(key)
        for name, declared in getattr(runbook, key).items():
            there = own.get(name)
            entry = _placed(declared)
            other = _means_another(declared, runbook, variables)
            if other:
                message = f"`{name}` depends on `{other}`, which is another one where it is used"
                source.error("RB317", message, entry.key_span, "write its value out")
            elif there is None:
                section = root.entries.get(key) or Entry(key, entry.key_span, Node(entry.key_span))
                entries = {**section.node.entries, name: entry}
                root = with_entry(root, replace(section, node=with_entries(section.node, entries)))
            elif not _is_same(there.node, entry.node, source, declared):
                message = f"`{name}` under `{key}` is another one in `{declared.source.file}`"
                source.error("RB317", message, there.key_span, "give one of them another name")
    return root


def outputs_resolver(source: Source, used: Mapping[str, Used]) -> Resolve:
    """What stands for `steps.<id>…` of a step that used a runbook."""

    def resolve(root: str, keys: Sequence[str | int], span: Span) -> str | None:
        found = used.get(str(keys[0])) if root == "steps" and keys else None
        if found is None:
            return None
        match [*keys[1:]]:
            case ["outputs", name, *rest]:
                if str(name) in found.outputs:
                    return f"({found.outputs[str(name)]})" + keys_text(rest)
                message = f"runbook `{found.name}` has no output `{name}`"
                hint = did_you_mean(str(name), found.outputs) or "it has none: see `outputs`"
                source.error("RB302", message, span, hint)
                return "none"
            case ["changed" | "started" as member]:
                each = " or ".join(f"steps.{step_id}.{member}" for step_id in found.ids)
                return f"({each})" if each else "false"
            case _:
                return None

    return resolve


# --- what is given --------------------------------------------------------------------------


def _inputs(source: Source, step: Node, runbook: "Document", known: Known) -> dict[str, str] | None:
    """Each input as an expression; absent: what is given does not fit, as noted."""
    parameters = step.entries.get("with")
    section = parameters.node.get("inputs") if parameters else None
    given = section.entries if section else {}
    place = parameters.key_span if parameters else step.span
    found: dict[str, str] = {}
    flaws = 0
    for name, entry in given.items():
        if name not in runbook.inputs:
            message = f"runbook `{runbook.name}` has no input `{name}`"
            hint = did_you_mean(name, runbook.inputs) or "it has none"
            source.error("RB410", message, entry.key_span, hint)
            flaws += 1
    for name, declared in runbook.inputs.items():
        node = given[name].node if name in given else declared.node.get("default")
        text = _given_text(source, declared, node, known) if node else _left_out(declared)
        if text is None and node is None:
            message = f"`inputs` does not give the input `{name}` of runbook `{runbook.name}`"
            source.error("RB410", message, place, f"add `{name}: …`")
        flaws += text is None
        found[name] = text or ""
    return None if flaws else found


def _given_text(source: Source, declared: "Declared", node: Node, known: Known) -> str | None:
    declaration, name = declared.node.value, declared.entry.key
    assert isinstance(declaration, dict)

    def resolve(root: str, keys: Sequence[str | int], span: Span) -> None:
        there = known.get(root)
        if there is not None and keys and keys[0] not in there:
            raise ExpressionInvalid(f"there is no `{root}.{keys[0]}`")

    try:
        text = as_expression(node.value, node.span, resolve)
        if declaration.get("sensitive"):
            return text if _is_given_secretly(source, declared, node, known) else None
        value = held(node.value, known)
        if not isinstance(value, str) or not has_expression(value):
            return literal(check_value(declaration, value))
        check_computed(name, declaration, value, known)
        return text
    except ExpressionInvalid as error:
        source.error("RB301", str(error), node.span)
    except ValueError as error:
        hint = error.hint if isinstance(error, Misgiven) else None
        source.error("RB410", str(error), node.span, hint)
    return None


def _is_given_secretly(source: Source, declared: "Declared", node: Node, known: Known) -> bool:
    if gives_secret(node.value, known):
        return True
    if not has_expression(str(node.value)):
        source.mask(node.span)
    message = f"input `{declared.entry.key}` is sensitive, and this is no secret"
    source.error("RB408", message, node.span, "give it one: `${{ secrets.NAME }}`")
    return False


def _left_out(declared: "Declared") -> str | None:
    required = declared.node.get("required")
    return "none" if required and required.value is False else None


def _resolver(runbook: "Document", inputs: Mapping[str, str], ids: Mapping[str, str]) -> Resolve:
    def resolve(root: str, keys: Sequence[str | int], span: Span) -> str | None:
        name = str(keys[0]) if keys else ""
        if root == "inputs" and name in inputs:
            return inputs[name]
        if root == "vars" and name in runbook.vars:
            value = runbook.vars[name].node.value
            return as_expression(value, span, resolve) + keys_text(keys[1:])
        if root == "steps" and name in ids:
            return ".".join(["steps", ids[name], *map(str, keys[1:])])
        return None

    return resolve


# --- steps ----------------------------------------------------------------------------------


def _within(node: Node, using: Node, ids: Mapping[str, str], resolve: Resolve) -> Node:
    """A step, or a group of them, as it stands in the runbook that uses it."""
    for key in ("parallel", "steps"):
        inner = node.get(key)
        if inner is not None:
            items = [_within(item, using, ids, resolve) for item in inner.items]
            return with_entry(node, replace(node.entries[key], node=with_items(inner, items)))
    made = rewritten_step(node, resolve)
    entries = dict(made.entries)
    if "id" in entries:
        written = entries["id"]
        value = ids.get(str(written.node.value), written.node.value)
        entries["id"] = replace(written, node=replace(written.node, value=value))
    for key in ("undoes", "guidance"):
        if key in using.entries and key not in entries:
            entries[key] = using.entries[key]
    conditions = [each.entries["when"] for each in (using, made) if "when" in each.entries]
    if conditions:
        both = " and ".join(f"({_condition(entry.node)})" for entry in conditions)
        alone = len(conditions) == 1
        node = conditions[-1].node
        entries["when"] = (
            conditions[0] if alone else replace(conditions[-1], node=replace(node, value=both))
        )
    return with_entries(made, entries)


def _condition(node: Node) -> str:
    return str(node.value).lower() if isinstance(node.value, bool) else str(node.value).strip()


def step_ids(nodes: Iterable[Node]) -> Iterator[str]:
    """The ids of steps, and of those in groups and loops among them."""
    for node in nodes:
        written = node.text_of("id")
        if written is not None:
            yield written
        for key in ("parallel", "steps", "for_each"):
            inner = node.get(key)
            yield from step_ids(inner.items or [inner]) if inner else ()


def _placed(declared: "Declared") -> Entry:
    entry = declared.entry
    span = replace(entry.key_span, origin=entry.key_span.origin or declared.source)
    return Entry(entry.key, span, placed_in(entry.node, declared.source))


def _means_another(
    declared: "Declared", runbook: "Document", variables: Mapping[str, Entry]
) -> str | None:
    """What a resource is computed from that is not the same in the runbook that uses its own."""
    for text in declared.node.texts():
        for reference, _fragment in references_in(str(text.value)):
            root, name = reference.parts[:2]
            if root == "inputs":
                return str(reference)
            if root == "vars" and not _is_same_variable(name, runbook, variables):
                return str(reference)
    return None


def _is_same_variable(name: str, runbook: "Document", variables: Mapping[str, Entry]) -> bool:
    own, other = runbook.vars.get(name), variables.get(name)
    if own is None or other is None or own.node.value != other.node.value:
        return False
    used = (each for text in own.node.texts() for each, _ in references_in(str(text.value)))
    return not any(reference.parts[0] == "inputs" for reference in used)


def _is_same(own: Node, other: Node, source: Source, declared: "Declared") -> bool:
    folders = source.folder_of(own), declared.source.folder_of(declared.node)
    return own.value == other.value and folders[0] == folders[1]
