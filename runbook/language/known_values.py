"""Parameters whose values are known when a run is planned: checked then, and not in its middle."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook.core.plan import SENSITIVE_INPUT, Json, JsonObject, Plan
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
from runbook.language.source import Node, Source
from runbook.registry import Registry

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What has a value before anything has run."""

    roots: Collection[str]
    """All that begins with one of these has."""
    inputs: Collection[str]
    """The inputs that have one."""
    written: Mapping[str, JsonObject]
    """Roots whose names have one if all does that goes into them: how each is written."""

    def has(self, template: Json) -> bool:
        """Whether every expression of a template has a value."""
        match template:
            case str():
                return all(self.has_name(name) for name, _ in references_in(template))
            case list():
                return all(map(self.has, template))
            case dict():
                return all(map(self.has, template.values()))
            case _:
                return True

    def has_name(self, name: Reference) -> bool:
        """Whether what a name gives has."""
        root, key = name.parts[:2]
        if root == "inputs":
            return key in self.inputs
        named = self.written.get(root, {})
        return root in self.roots or (key in named and self.has(named[key]))


def foreseeable(plan: Plan) -> Known:
    """What is known of a plan to whoever need not know what its secrets are."""
    sensitive = (name.removeprefix(SENSITIVE_INPUT) for name in plan.secrets)
    resources: JsonObject = {name: each.params for name, each in plan.resources.items()}
    return Known(
        roots=("env", "secrets"),
        inputs={*plan.inputs, *sensitive},
        written={"vars": dict(plan.vars), "resources": resources},
    )


def known_to(document: Document, inputs: JsonObject) -> Known:
    """What is known of a document, given its inputs: secrets are not, nor what depends on one."""
    written = {name: declared.node.value for name, declared in document.vars.items()}
    return Known(roots=("env",), inputs=inputs, written={"vars": written})


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
    values = _Values(bundle.main, registry, scope, known_to(bundle.main, plan.inputs))
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
    known: Known

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
        known = [self.known.has_name(name) for name in used]
        if step.when is None or not all(known):
            return not any(known)
        try:
            return Evaluator().truth(step.when, self.scope)
        except ParametersInvalid:
            return False  # the run says why

    def _is_known(self, text: Node) -> bool:
        return self.known.has(text.value)

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
