"""What can only be doubtful in a runbook: warnings. Doubtful conditions: conditions.py."""

import re
from difflib import get_close_matches

from runbook.language.diagnostics import Diagnostic
from runbook.language.document import Declared, Document
from runbook.language.effects import resource_in

_NAMED = re.compile(r"inputs\W{1,3}(\w+)")
_EXPRESSIONS = re.compile(r"(?:\$\{\{|when:)[^$\n]*")
_MOST_WORDS = 100
"""How many words may be a misspelt input."""


def warn_of_doubts(document: Document, rollback: Document | None) -> None:
    """Note what is doubtful in a document, as far as it can be read."""
    if not document.undone_file:
        _check_migrations(document, rollback)


def warn_of_unused(document: Document, used_inputs: set[str]) -> None:
    """Note the inputs that are none of those.

    Where there are errors, not those that have one, nor those that any text seems to mean: what
    uses them may be misspelt, or misplaced.
    """
    used = set(used_inputs)
    errors = [found for found in document.source.diagnostics if found.is_error]
    if errors:
        used |= _seemingly_used(document)
    for name, declared in document.inputs.items():
        if name not in used and not any(_is_in(found, declared) for found in errors):
            hint = "remove it, or use it: `${{ inputs." + name + " }}`"
            span = declared.entry.key_span
            declared.source.warn("RB451", f"input `{name}` is not used", span, hint)


def _is_in(found: Diagnostic, declared: Declared) -> bool:
    """Whether a finding is about a declaration."""
    start, end = declared.entry.key_span, declared.node.span
    place = (found.line, found.column)
    return (start.line, start.column) <= place <= (end.end_line, end.end_column)


def _seemingly_used(document: Document) -> set[str]:
    text = document.source.text
    named = set(_NAMED.findall(text))
    words = {word for piece in _EXPRESSIONS.findall(text) for word in re.findall(r"\w+", piece)}
    near = (get_close_matches(word, document.inputs, n=1) for word in sorted(named)[:_MOST_WORDS])
    return words.union(named, *near)


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
