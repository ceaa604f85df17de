"""What can only be doubtful in a runbook: warnings. What is surely wrong: names.py, rules.py."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from runbook.core.events import Trigger
from runbook.core.state import Status
from runbook.language.diagnostics import did_you_mean
from runbook.language.document import Document, Step
from runbook.language.effects import resource_in
from runbook.language.expressions import chain, references
from runbook.language.sandbox import ExpressionInvalid, parse

_BOOLEANS = (True, False)
_EQUALITY = ("eq", "ne")


def warn_of_doubts(document: Document, rollback: Document | None) -> None:
    """Note what is doubtful in a document, as far as it can be read."""
    copies = {each for ids in document.source.copies.values() for each in ids}
    for step in document.steps:
        with suppress(ExpressionInvalid):
            if step.id not in copies:
                _check_constant_when(step)
            _check_comparisons(document, step)
    if not document.undone_file:
        _check_migrations(document, rollback)


def warn_of_unused(document: Document, used_inputs: set[str]) -> None:
    """Note the inputs that are none of those; in a document without errors: all are known then."""
    for name, declared in document.inputs.items():
        if name not in used_inputs:
            hint = "remove it, or use it: `${{ inputs." + name + " }}`"
            span = declared.entry.key_span
            declared.source.warn("RB451", f"input `{name}` is not used", span, hint)


def _check_constant_when(step: Step) -> None:
    node = step.node.get("when")
    if node is None or step.when is None or references(step.when):
        return
    if step.when.lower() in ("false", "not true"):
        step.source.warn("RB452", f"{step.label} never runs: `when` is false", node.span)
    elif step.when.lower() not in ("true", "not false"):
        message = f"`when: {step.when}` does not depend on anything"
        step.source.warn("RB452", message, node.span)


def _check_comparisons(document: Document, step: Step) -> None:
    """A `when` that compares a name with what it never is: most often a spelling mistake."""
    node = step.node.get("when")
    if node is None or step.when is None:
        return
    for parts, constant in _comparisons(step.when):
        possible = _possible_values(document, parts)
        if not possible or any(_is_same(constant, value) for value in possible):
            continue
        dotted, shown = ".".join(parts), _shown([constant])[0]
        span = step.source.part(node, shown)
        hint = did_you_mean(shown, _shown(possible))
        step.source.warn("RB453", f"`{dotted}` is never `{shown}`", span, hint)


def _comparisons(expression: str) -> list[tuple[tuple[str, ...], object]]:
    """Each name that must equal, or differ from, a constant."""
    from jinja2 import nodes

    pending: list[nodes.Node] = [parse(expression)]
    found = []
    while pending:
        node = pending.pop()
        pending.extend(node.iter_child_nodes())
        if isinstance(node, nodes.Compare) and len(node.ops) == 1 and node.ops[0].op in _EQUALITY:
            sides = (node.expr, node.ops[0].expr), (node.ops[0].expr, node.expr)
            found += [
                (chain(left), right.value)
                for left, right in sides
                if chain(left) and isinstance(right, nodes.Const)
            ]
    return found


def _is_same(constant: object, value: object) -> bool:
    return type(constant) is type(value) and constant == value


def _shown(values: Iterable[object]) -> list[str]:
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in values]


def _possible_values(document: Document, parts: Sequence[str]) -> Sequence[object]:
    """All that a name may be, where that is known; empty: it is not."""
    match parts:
        case ["inputs", name] if name in document.inputs:
            node = document.inputs[name].node
            choices = node.get("choices")
            if node.text_of("type") == "choice" and choices:
                return [item.value for item in choices.items]
            return _BOOLEANS if node.text_of("type") == "boolean" else ()
        case ["steps", _, "status"]:
            return [str(status) for status in Status]
        case ["steps", _, "started" | "changed"] | ["env", "protected"]:
            return _BOOLEANS
        case ["run", "trigger"]:
            return [str(trigger) for trigger in Trigger]
        case _:
            return ()


def _check_migrations(document: Document, rollback: Document | None) -> None:
    """What a step says that it changes, the rollback can bring back."""
    steps = rollback.steps if rollback else []
    restored = {resource_in(step, step.kind.destroys) for step in steps if step.kind}
    for step in document.steps:
        changed = resource_in(step, "changes")
        entry = step.parameters.entries.get("changes") if step.parameters else None
        if changed is None or entry is None or step.node.get("irreversible"):
            continue
        if changed in document.resources and changed not in restored:
            message = f"{step.label} changes `{changed}`, and no rollback brings it back"
            hint = (
                "restore it in the runbook that `on_failure` names,"
                " or say why that is not needed: `irreversible: …`"
            )
            step.source.warn("RB454", message, entry.node.span, hint)
