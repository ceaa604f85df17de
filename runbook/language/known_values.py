"""Parameters whose values are known when a run is planned: checked then, and not in its middle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.core.plan import Json, Plan
from runbook.errors import ParametersInvalid
from runbook.language.diagnostics import InvalidRunbook
from runbook.language.document import Bundle, Document, Step
from runbook.language.expressions import (
    Evaluator,
    Expression,
    Reference,
    has_expression,
    references,
    references_in,
    split,
)
from runbook.language.secrecy import is_secret
from runbook.language.source import Node, Source
from runbook.registry import Registry

if TYPE_CHECKING:
    from pydantic import BaseModel

_KNOWN = ("inputs", "vars", "env")


def check_known_values(bundle: Bundle, plan: Plan, registry: Registry) -> None:
    """Refuse what is computed from inputs and variables alone and does not fit its parameter.

    The error stands where the value was written.

    Raises:
        InvalidRunbook: carries all of them.
    """
    scope = {
        "inputs": plan.inputs,
        "vars": plan.vars,
        "env": {"name": plan.environment, "protected": plan.is_protected},
    }
    values = _Values(bundle.main, registry, scope)
    for step in bundle.main.steps:
        values.check(step)
    found = [each for source in bundle.sources() for each in source.diagnostics]
    if any(diagnostic.is_error for diagnostic in found):
        raise InvalidRunbook(found)


@dataclass(frozen=True, slots=True)
class _Values:
    document: Document
    registry: Registry
    scope: Mapping[str, object]

    def check(self, step: Step) -> None:
        """Note every parameter of a step that does not fit."""
        if step.parameters is None or not self._may_run(step):
            return
        with_resources = {use.path[0] for use in self.registry.facts(step.kind_name).resources}
        for key, entry in step.parameters.entries.items():
            if key in with_resources or not any(map(self._is_known, _computed(entry.node))):
                continue
            for node, said, hint in self._misfits(step, key, entry.node):
                at, source = self._written(node) or (node, step.source)
                message = f"`{key}` of step `{step.id}`: {said}"
                source.error("RB414", message, at.span, hint)

    def _may_run(self, step: Step) -> bool:
        """Whether a step may run, as far as that is known; a condition may guard its parameters."""
        used = references(step.when) if step.when else ()
        known = [self._is_known_name(name) for name in used]
        if step.when is None or not all(known):
            return not any(known)
        try:
            return Evaluator().truth(step.when, self.scope)
        except ParametersInvalid:
            return False  # the run says why

    def _is_known(self, text: Node) -> bool:
        return all(self._is_known_name(name) for name, _ in references_in(str(text.value)))

    def _is_known_name(self, name: Reference) -> bool:
        return name.parts[0] in _KNOWN and not is_secret(self.document, name)

    def _misfits(self, step: Step, key: str, node: Node) -> Iterator[tuple[Node, str, str | None]]:
        """Each place in a parameter that does not fit: what is wrong there, and what to write."""
        from pydantic import ValidationError

        from runbook.language.refusals import nearest
        from runbook.misfits import in_plain_words

        model = self._model(step, key)
        if model is None:
            return
        try:
            value = self._value(node)
        except ParametersInvalid as error:
            yield node, error.message, None
            return
        try:
            model.model_validate({key: value}, context={"base": str(step.source.folder_of(node))})
        except ValidationError as error:
            found: dict[int, tuple[Node, str, str | None]] = {}
            for item in error.errors(include_url=False):
                place = nearest(node, item["loc"][1:])
                texts = _computed(place)
                if texts and all(map(self._is_known, texts)):
                    found.setdefault(id(place), (place, in_plain_words(item), _hint(place, item)))
            of_texts = [each for each in found.values() if isinstance(each[0].value, str)]
            yield from of_texts or [*found.values()][:1]

    def _model(self, step: Step, key: str) -> "type[BaseModel] | None":
        """A type that has this parameter of the step's kind, and no other."""
        from pydantic import create_model

        spec = self.registry.find(step.kind_name).spec
        for name, field in spec.model_fields.items():
            if key == (field.alias or name):
                only: Any = {name: (field.annotation, field)}
                made: type[BaseModel] = create_model("One", __config__=spec.model_config, **only)
                return made
        return None

    def _value(self, node: Node) -> Json:
        """What stands there, with what is known in the place of its expressions."""
        if node.entries:
            return {key: self._value(entry.node) for key, entry in node.entries.items()}
        if node.items:
            return [self._value(item) for item in node.items]
        is_known = isinstance(node.value, str) and self._is_known(node)
        value: Json = Evaluator().value(node.value, self.scope) if is_known else node.value
        return value

    def _written(self, text: Node) -> tuple[Node, Source] | None:
        """Where the one variable's value stands, or what an environment gives the one input."""
        used = [name for name, _fragment in references_in(str(text.value))]
        if len(used) != 1 or used[0].parts[0] not in ("inputs", "vars"):
            return None
        root, key = used[0].parts[:2]
        if root == "vars":
            return self.document.vars[key].node, self.document.vars[key].source
        declared = self.document.inputs[key]
        default = declared.node.get("default")
        return (default, declared.source) if default and default.span.origin else None


def _computed(node: Node) -> list[Node]:
    """The texts in a parameter that hold expressions."""
    return [text for text in node.texts() if has_expression(str(text.value))]


def _hint(place: Node, item: Mapping[str, Any]) -> str | None:
    """How to write a number or a boolean where text is wanted."""
    pieces = split(place.value) if isinstance(place.value, str) else []
    is_value = isinstance(item["input"], bool | int | float)
    if item["type"] != "string_type" or not is_value or not isinstance(pieces[0], Expression):
        return None
    text = pieces[0].text
    is_name = text.replace(".", "").replace("_", "").isalnum()
    return f"write `${{{{ {text if is_name else f'({text})'} | string }}}}`"
