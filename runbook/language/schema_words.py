"""Schema text: the words that schemas are made of, and what is made of the types of kinds."""

from collections.abc import Mapping
from typing import Any, cast

from runbook.core.plan import Json, JsonObject

EXPRESSION: JsonObject = {"$ref": "#/$defs/expression"}
WORD_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"


def mapping(properties: Mapping[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """A mapping with these keys and no other."""
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        made["required"] = required
    return {**made, "additionalProperties": False}


def text(description: str, **keywords: Json) -> dict[str, Any]:
    """A text."""
    return {"type": "string", **keywords, "description": description}


def map_of(definition: str, description: str) -> dict[str, Any]:
    """A mapping of names that people choose to values of one definition."""
    return {
        "type": "object",
        "description": description,
        "propertyNames": {"pattern": WORD_PATTERN},
        "additionalProperties": {"$ref": f"#/$defs/{definition}"},
    }


def list_of(definition: str, description: str) -> dict[str, Any]:
    """A list of at least one value of a definition."""
    return {
        "type": "array",
        "description": description,
        "minItems": 1,
        "items": {"$ref": f"#/$defs/{definition}"},
    }


def either(key: str, chosen: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A mapping of one sort if it has that key, else of the other."""
    return {"type": "object", "if": {"required": [key]}, "then": chosen, "else": other}


# --- the types of kinds and resources -------------------------------------------------------


def models_of(models: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """For each model by its name a reference to it, and every definition behind them."""
    from pydantic.json_schema import models_json_schema

    from runbook.introspection import describe_fields

    describe_fields(*models.values())
    pairs = [(model, "validation") for model in dict.fromkeys(models.values())]
    found, definitions = models_json_schema(cast(Any, pairs), ref_template="#/$defs/{model}")
    by_model = {model: reference for (model, _mode), reference in found.items()}
    refined = {
        name: _refined(definition)
        for name, definition in sorted(definitions.get("$defs", {}).items())
    }
    return {name: dict(by_model[model]) for name, model in models.items()}, refined


def _refined(schema: dict[str, Any]) -> dict[str, Any]:
    """A type's schema without noise, open for expressions wherever a value stands."""
    made = {key: value for key, value in schema.items() if key not in ("title", "default")}
    if "description" in made:
        text = str(made["description"]).split("Example:", 1)[0]
        made["description"] = " ".join(text.replace("``", "`").split())
    if "properties" in made:
        made["properties"] = {
            name: _opened(_refined(value))
            for name, value in made["properties"].items()
            if not value.get("x-internal")
        }
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = _opened(_refined(made[key]))
    for key in ("anyOf", "oneOf", "allOf"):
        if key in made:
            made["anyOf" if key == "oneOf" else key] = [_refined(part) for part in made.pop(key)]
    made.pop("discriminator", None)
    return _without_null(made)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Absent is written by leaving the key out, never as `null`."""
    if "anyOf" not in schema:
        return schema
    branches = [branch for branch in schema["anyOf"] if branch.get("type") != "null"]
    if len(branches) > 1:
        return {**schema, "anyOf": branches}
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**branches[0], **rest}


def _opened(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or an expression."""
    branches = schema.get("anyOf", [schema])
    if schema.get("format") == "resource" or any(_takes_any_text(branch) for branch in branches):
        return schema
    described = {key: schema[key] for key in ("description",) if key in schema}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], EXPRESSION]}
    bare = {key: value for key, value in schema.items() if key != "description"}
    return {**described, "anyOf": [bare, EXPRESSION]}


def _takes_any_text(schema: dict[str, Any]) -> bool:
    constrained = ("$ref", "pattern", "enum", "const", "maxLength", "anyOf", "allOf")
    is_text = schema.get("type", "string") == "string"
    return is_text and not any(key in schema for key in constrained)
