"""The schema of an input's declaration."""

from collections.abc import Sequence
from typing import Any

from runbook.field_rules import rule
from runbook.language.inputs import INPUT_TYPES, NUMBER_TYPES, TEXT_TYPES
from runbook.language.schema_words import WORD_PATTERN, mapping, text


def input_definition() -> dict[str, Any]:
    """What stands under the name of an input; each type has the keys that it uses, and no other."""
    scalar = ["string", "number", "boolean"]
    declared = mapping(
        {
            "type": {"enum": list(INPUT_TYPES), "description": "What values it takes."},
            "default": {"type": scalar, "description": "Its value where none is given."},
            "required": {"type": "boolean", "description": "Whether one must be given."},
            "choices": {
                "type": "array",
                "minItems": 1,
                "description": "The values that a choice takes.",
            },
            "pattern": text("Regular expression that the whole text must match."),
            "minimum": {"type": ["string", "number"], "description": "Least value."},
            "maximum": {"type": ["string", "number"], "description": "Greatest value."},
            "env": text("Environment variable that gives it.", pattern=WORD_PATTERN),
            "help": text("What it is for."),
            "sensitive": {"type": "boolean", "description": "Whether it is a secret."},
        },
        ["type"],
    )
    bounds, guards = ("minimum", "maximum"), ("choices", "pattern")
    texts = {"properties": {"choices": {"items": {"type": "string"}}}}
    unbounded = _without(bounds, "`minimum` and `maximum` go with numbers and measures")
    unguarded = _without(guards, "`choices` and `pattern` go with text")
    others = [each for each in TEXT_TYPES if each != "choice"]
    boolean = _without((*bounds, *guards), "a boolean has no bounds, `choices` or `pattern`")
    return {
        **declared,
        "allOf": [
            _of_types(["choice"], {**texts, "required": ["choices"], "allOf": [unbounded]}),
            _of_types(others, {**texts, "allOf": [unbounded]}),
            _of_types(NUMBER_TYPES, unguarded),
            _of_types(["boolean"], boolean),
        ],
    }


def _of_types(types: Sequence[str], then: dict[str, Any]) -> dict[str, Any]:
    """What goes for inputs of these types."""
    of_these = {"type": "object", "properties": {"type": {"enum": [*types]}}, "required": ["type"]}
    return {"if": of_these, "then": then}


def _without(keys: Sequence[str], message: str) -> dict[str, Any]:
    """The rule that none of these keys is there."""
    return rule(message, {"not": {"anyOf": [{"required": [key]} for key in keys]}})
