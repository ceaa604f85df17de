"""A step kind as the reference shows it: everything from its own types and docstrings."""

import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runbook.core.plan import Effect, JsonObject
from runbook.introspection import describe_fields
from runbook.kinds import StepKind
from runbook.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldReference:
    """A parameter or an output."""

    name: str
    type: str
    is_required: bool
    default: str | None
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KindReference:
    """A step kind."""

    name: str
    summary: str
    details: str
    """What the docstring says besides; may be empty."""
    example: str
    """YAML, as it stands under `steps:`; may be empty."""
    effect: str
    doubt: str
    """How doubt is settled."""
    timeout: str
    parameters: tuple[FieldReference, ...]
    outputs: tuple[FieldReference, ...]


_EFFECTS = {
    Effect.READS: "reads",
    Effect.CHANGES: "changes",
    Effect.DESTROYS: "destroys",
}


def refer_to(name: str, kind: StepKind[Any, Any]) -> KindReference:
    """What the reference says of a kind."""
    describe_fields(kind.spec, kind.outputs)
    summary, details, example = _split_docstring(inspect.getdoc(kind.spec) or "")
    effect = _EFFECTS[kind.effect] if isinstance(kind.effect, Effect) else "as the step says"
    return KindReference(
        name=name,
        summary=summary,
        details=details,
        example=example,
        effect=effect,
        doubt=str(kind.rerun)
        if kind.rerun
        else "as the step says by `rerun`, `creates` or `probe`",
        timeout=format_duration(kind.timeout_s),
        parameters=fields_of(kind.spec.model_json_schema(mode="validation", by_alias=True)),
        outputs=fields_of(kind.outputs.model_json_schema(mode="serialization", by_alias=True)),
    )


def _split_docstring(text: str) -> tuple[str, str, str]:
    before, _, example = text.partition("Example:")
    summary, _, details = before.strip().partition("\n")
    return summary.strip(), details.strip(), textwrap.dedent(example.strip("\n")).rstrip()


def fields_of(schema: Mapping[str, Any]) -> tuple[FieldReference, ...]:
    """The keys of a mapping, by its schema."""
    definitions = schema.get("$defs", {})
    required = schema.get("required", ())
    return tuple(
        FieldReference(
            name=name,
            type=_type_words(field, definitions),
            is_required=name in required,
            default=_default_words(field),
            description=" ".join(str(field.get("description", "")).split()),
        )
        for name, field in schema.get("properties", {}).items()
        if not field.get("x-internal")
    )


def _default_words(field: Mapping[str, Any]) -> str | None:
    if field.get("default") is None:
        return None
    default = field["default"]
    return str(default).lower() if isinstance(default, bool) else str(default)


def _type_words(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The field's type as people say it."""
    if "$ref" in field:
        name = str(field["$ref"]).rsplit("/", 1)[-1]
        return _type_words(definitions.get(name, {}), definitions)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    is_model = "properties" in field
    choices = () if is_model else field.get("anyOf") or field.get("oneOf") or field.get("allOf")
    if choices:
        words = [_type_words(choice, definitions) for choice in choices]
        return " or ".join(dict.fromkeys(word for word in words if word != "null")) or "nothing"
    match field.get("type"):
        case "array":
            return f"list of {_type_words(field.get('items', {}), definitions)}"
        case "object" if "additionalProperties" in field and not field.get("properties"):
            values = field["additionalProperties"]
            inner = _type_words(values, definitions) if isinstance(values, dict) else "any value"
            return f"map of {inner}"
        case "object":
            keys = ", ".join(field.get("properties", {}))
            return f"map ({keys})" if keys else "map"
        case "string":
            return str(field.get("format") or "string")
        case str(word):
            return word
        case list() as words:
            return " or ".join(words)
        case _:
            return "any value"


def kind_text(reference: KindReference, width: int = 80) -> str:
    """The reference of a kind as text."""
    lines = [f"{reference.name}: {reference.summary}"]
    if reference.details:
        lines += ["", reference.details]
    lines += ["", f"Effect   {reference.effect}", f"Doubt    {reference.doubt}"]
    lines += [f"Timeout  {reference.timeout}, unless the step says otherwise"]
    for title, fields in (("Parameters", reference.parameters), ("Outputs", reference.outputs)):
        lines += ["", f"{title}:"] if fields else ["", f"{title}: none"]
        for field in fields:
            lines += _field_lines(field, width)
    if reference.example:
        lines += ["", "Example:", textwrap.indent(reference.example, "  ")]
    return "\n".join(lines)


def _field_lines(field: FieldReference, width: int) -> list[str]:
    need = "required" if field.is_required else "optional"
    notes = need if field.default is None else f"default {field.default}"
    head = f"  {field.name}  ({field.type}; {notes})"
    return [head, *textwrap.wrap(field.description, width, initial_indent="      ",
                                 subsequent_indent="      ")]  # fmt: skip


def kind_document(reference: KindReference) -> JsonObject:
    """The reference of a kind as JSON."""
    return asdict(reference)
