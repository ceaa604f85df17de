"""What can only be doubtful in a runbook: warnings. Doubtful conditions: conditions.py."""

from runbook.language.document import Document
from runbook.language.effects import resource_in


def warn_of_doubts(document: Document, rollback: Document | None) -> None:
    """Note what is doubtful in a document, as far as it can be read."""
    if not document.undone_file:
        _check_migrations(document, rollback)


def warn_of_unused(document: Document, used_inputs: set[str]) -> None:
    """Note the inputs that are none of those; in a document without errors: all are known then."""
    for name, declared in document.inputs.items():
        if name not in used_inputs:
            hint = "remove it, or use it: `${{ inputs." + name + " }}`"
            span = declared.entry.key_span
            declared.source.warn("RB451", f"input `{name}` is not used", span, hint)


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
