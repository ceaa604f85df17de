"""What only a kind's own type can refuse: rules that it does not state in its schema.

Loads pydantic and the kind; checking.py comes here only where a document uses such a kind.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from runbook.kinds import Spec
from runbook.language.document import Document, Step
from runbook.language.environments import other_bases
from runbook.language.expressions import has_expression
from runbook.language.source import Node
from runbook.misfits import in_plain_words
from runbook.registry import Registry
from runbook.resources import RESOURCE_TYPES


def check_refusals(document: Document, registry: Registry) -> None:
    """Note what the types of a document's kinds refuse, where nothing has to be computed first."""
    resources = _known_resources(document)
    for step in document.steps:
        node = step.parameters
        is_computed = node and any(has_expression(str(text.value)) for text in node.texts())
        if step.kind and step.kind.has_rules and not is_computed:
            _check_step(step, registry.find(step.kind_name).spec, resources)


def _known_resources(document: Document) -> Mapping[str, BaseModel]:
    """Every resource that needs nothing computed."""
    known: dict[str, BaseModel] = {}
    for name, declared in document.resources.items():
        word = document.resource_type(name)
        node = declared.node.get(word) if word else None
        if word and node and not any(has_expression(str(text.value)) for text in node.texts()):
            bases = other_bases(declared.source, node, declared.base)
            context = {"base": str(declared.base), "bases": bases}
            known[name] = RESOURCE_TYPES[word].model_validate(node.value, context=context)
    return known


def _check_step(step: Step, spec: type[Spec], resources: Mapping[str, BaseModel]) -> None:
    base = step.source.path.absolute().parent.resolve()
    node = step.parameters
    bases = other_bases(step.source, node, base)
    context = {"base": str(base), "bases": bases, "resources": _Lenient(resources)}
    try:
        spec.model_validate(node.value if node else {}, context=context)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        if not any(_UNCOMPUTED in item["msg"] for item in found):
            _report_error(step, node or step.node.get("uses") or step.node, error)


_UNCOMPUTED = "is computed at run time"


class _Lenient(dict[str, BaseModel]):
    """Resources by name; one that is not known yet ends the check of the step that names it."""

    def __contains__(self, _name: object) -> bool:
        return True

    def __missing__(self, name: str) -> BaseModel:
        raise ValueError(f"resource `{name}` {_UNCOMPUTED}")


def _report_error(step: Step, node: Node, error: ValidationError) -> None:
    for item in error.errors(include_url=False, include_input=False):
        place = nearest(node, item["loc"])
        span = place.span
        entry = step.node.entries.get("with")
        if place is node and entry and entry.node is node:
            span = entry.key_span
        step.source.error("RB207", f"{step.label}: {in_plain_words(item)}", span)


def nearest(node: Node, location: tuple[int | str, ...]) -> Node:
    """What pydantic's way to a misfit leads to, as far as it is written out."""
    for part in location:
        is_index = isinstance(part, int) and part < len(node.items)
        if isinstance(part, int) and is_index:
            node = node.items[part]
        elif isinstance(part, str) and part in node.entries:
            node = node.entries[part].node
    return node
