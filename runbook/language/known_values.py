"""Parameters whose values are known when a run is planned: checked then, and not in its middle."""

from collections.abc import Mapping, Sequence
from typing import Any

from runbook.core.plan import Plan
from runbook.errors import ParametersInvalid
from runbook.language.diagnostics import InvalidRunbook
from runbook.language.document import Bundle, Document, Step
from runbook.language.expressions import Evaluator, Expression, Reference, references, split
from runbook.language.secrecy import is_secret
from runbook.language.source import Node, Source
from runbook.registry import Registry

_KNOWN = ("inputs", "vars", "env")


def check_known_values(bundle: Bundle, plan: Plan, registry: Registry) -> None:
    """Refuse a parameter that is one expression over inputs and variables and does not fit.

    The error stands where the value was written. A step with a `when` may never run.

    Raises:
        InvalidRunbook: carries all of them.
    """
    scope = {
        "inputs": plan.inputs,
        "vars": plan.vars,
        "env": {"name": plan.environment, "protected": plan.is_protected},
    }
    for step in bundle.main.steps:
        for key, entry in step.parameters.entries.items() if step.parameters else ():
            used = _known_references(bundle.main, entry.node)
            if used is not None and step.when is None:
                _check(bundle.main, step, key, registry, scope, used)
    found = [each for source in bundle.sources() for each in source.diagnostics]
    if any(diagnostic.is_error for diagnostic in found):
        raise InvalidRunbook(found)


def _known_references(document: Document, node: Node) -> Sequence[Reference] | None:
    """What a value that is one expression uses; absent: it is none, or is known only later."""
    pieces = split(node.value) if isinstance(node.value, str) else []
    if len(pieces) != 1 or not isinstance(pieces[0], Expression):
        return None
    used = references(pieces[0].text)
    is_known = all(name.parts[0] in _KNOWN and not is_secret(document, name) for name in used)
    return used if is_known else None


def _check(
    document: Document,
    step: Step,
    key: str,
    registry: Registry,
    scope: Mapping[str, object],
    used: Sequence[Reference],
) -> None:
    from pydantic import ValidationError, create_model

    assert step.parameters is not None
    node, source = step.parameters.entries[key].node, step.source
    spec = registry.find(step.kind_name).spec
    fields = {field.alias or name: (name, field) for name, field in spec.model_fields.items()}
    if key not in fields or any(
        use.path[0] == key for use in registry.facts(step.kind_name).resources
    ):
        return
    field_name, field = fields[key]
    known: Any = {field_name: (field.annotation, field)}
    one = create_model("One", __config__=spec.model_config, **known)
    try:
        value = Evaluator().value(node.value, scope)
        one.model_validate({key: value}, context={"base": str(source.folder_of(node))})
        return
    except ParametersInvalid as error:
        said = error.message
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
    for name in used if len(used) == 1 else ():
        node, source = _written(document, name) or (node, source)
    source.error("RB414", f"`{key}` of step `{step.id}`: {said}", node.span)


def _written(document: Document, name: Reference) -> tuple[Node, Source] | None:
    """Where a variable's value stands, or what an environment gives an input."""
    root, key = name.parts[:2]
    if root == "vars":
        return document.vars[key].node, document.vars[key].source
    default = document.inputs[key].node.get("default") if root == "inputs" else None
    return (default, document.inputs[key].source) if default and default.span.origin else None
