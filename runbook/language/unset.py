"""Outputs that are not there on some path: an early failure, a step that is skipped or may fail."""

from collections.abc import Sequence

from runbook.language.document import Document, Step
from runbook.language.effects import after_step, raw_parameters
from runbook.language.expressions import guards_of
from runbook.language.names import Use
from runbook.language.sandbox import ExpressionInvalid
from runbook.language.trees import implies


def check_unset(document: Document, uses: Sequence[Use]) -> None:
    """Note every use of an output that some path leaves unset, with the path."""
    for use in uses:
        parts = use.reference.parts
        if parts[0] != "steps" or parts[2] != "outputs" or use.reference.is_optional:
            continue
        target = document.by_id[parts[1]]
        parameter = target.kind.asked_for.get(parts[3]) if target.kind else None
        if parameter and raw_parameters(target).get(parameter, "none") == "none":
            message = f"`{use.reference}` is never set: step `{target.id}` is not asked for it"
            hint = f"say under its `with` what it is to give: `{parameter}: …`"
            use.source.error("RB307", message, use.span, hint)
            continue
        if target.id in use.reference.guards | _guards(use):
            continue
        path = _path(document, target, use)
        if path:
            message = f"`{use.reference}` is not set on every path: {path}"
            hint = f"guard it: `{use.reference} if steps.{target.id}.status == 'succeeded' else …`"
            use.source.error("RB307", message, use.span, hint)


def _guards(use: Use) -> frozenset[str]:
    """What is sure because the step's `when` holds."""
    if use.step is None or use.is_when or use.step.when is None:
        return frozenset()
    try:
        return guards_of(use.step.when)
    except ExpressionInvalid:
        return frozenset()


def _path(document: Document, target: Step, use: Use) -> str | None:
    """How a target's outputs may come to be unset where they are used; absent: in no way."""
    if use.is_on_failure:
        early = _failing_before(document, target)
        if early:
            return f"step `{early.id}` fails, and the rollback starts"
    elif use.step and use.step.is_finally:
        first = target if target.is_finally else next(each for each in document.steps if each.id)
        return f"step `{first.id}` fails, and the {'other ' * target.is_finally}finally steps run"
    if target.continues:
        return f"step `{target.id}` fails, and the run goes on"
    if not implies(use.step.when if use.step else None, target.when):
        return f"step `{target.id}` is skipped because its `when` is false"
    ids = {str(node.value) for node in target.undoes}
    own = {str(node.value) for node in use.step.undoes} if use.step else set()
    if ids and not (own and own <= ids):
        return f"step `{target.id}` is skipped because there is nothing for it to undo"
    return None


def _failing_before(document: Document, target: Step) -> Step | None:
    """A step whose failure starts the rollback before the target has succeeded."""
    after = after_step(document)
    if after is None or target is after or target in after.before():
        return None
    done = {id(after), *(id(step) for step in after.before())}
    main = (step for step in document.steps if not step.is_finally and step.id)
    return next((step for step in main if id(step) not in done), None)
